#!/usr/bin/env python3
"""Quire beside llama.cpp and transformers on the same shape, in turns on the same machine; prints figures and ratios.

    benchmarks/compare_cpu.py --engine-bench build/release/engine_bench \
        [--llama-bench PATH --gguf FILE] [--python PYTHON-with-torch-and-transformers] [--rounds 3] [--threads 2]

The shape is benchmarks/models/qwen2-0.5b in bfloat16. Each figure is the best of the rounds. The GGUF file and the other
engines are made outside of the tree (docs/performance.md says how)."""
import argparse
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHAPE = HERE / "models/qwen2-0.5b"
TRANSFORMERS = """
import json, sys, time, torch
from transformers import AutoConfig, AutoModelForCausalLM
torch.set_num_threads(int(sys.argv[2]))
config = AutoConfig.from_pretrained(sys.argv[1])
with torch.inference_mode():
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    prompt = (torch.arange(512) % 1000 + 100)[None]
    def prefill():
        start = time.perf_counter(); model(prompt, logits_to_keep=1); return 512 / (time.perf_counter() - start)
    def decode(batch):
        ids = (torch.arange(16) + 100)[None].repeat(batch, 1)
        out = model(ids, use_cache=True, logits_to_keep=1); token = out.logits.argmax(-1); past = out.past_key_values
        start = time.perf_counter()
        for _ in range(24):
            out = model(token, past_key_values=past, use_cache=True); token = out.logits[:, -1:].argmax(-1)
        return 24 * batch / (time.perf_counter() - start)
    prefill()
    print(json.dumps({"prefill": max(prefill() for _ in range(2)), "decode": decode(1), "decode_batch": decode(16)}))
"""


def quire(args):
    words = [args.engine_bench, SHAPE, f"--threads={args.threads}", "--rounds=1"]
    return json.loads(subprocess.run([str(w) for w in words], capture_output=True, text=True, check=True).stdout)


def llama(args):
    words = [args.llama_bench, "-m", args.gguf, "-t", args.threads, "-p", 512, "-n", 64, "-r", 1, "-o", "json"]
    rows = json.loads(subprocess.run([str(w) for w in words], capture_output=True, text=True, check=True).stdout)
    return {"prefill" if row["n_prompt"] else "decode": row["avg_ts"] for row in rows}


def transformers(args):
    words = [args.python, "-c", TRANSFORMERS, SHAPE, args.threads]
    return json.loads(subprocess.run([str(w) for w in words], capture_output=True, text=True, check=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine-bench", required=True)
    parser.add_argument("--llama-bench")
    parser.add_argument("--gguf")
    parser.add_argument("--python")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    engines = {"quire": quire} | ({"llama.cpp": llama} if args.llama_bench else {}) | (
        {"transformers": transformers} if args.python else {})
    best = {name: {} for name in engines}
    for turn in range(args.rounds):
        for name, measure in engines.items():
            figures = measure(args)
            print(f"round {turn}: {name} {json.dumps(figures)}", file=sys.stderr, flush=True)
            for key in ("prefill", "decode", "decode_batch"):
                if key in figures:
                    best[name][key] = max(best[name].get(key, 0), figures[key])
    print(f"{'tokens/s':<14}{'prefill 512':>14}{'decode 1':>12}{'decode 16':>12}")
    for name, row in best.items():
        print(f"{name:<14}" + "".join(f"{row[k]:>{w}.1f}" if k in row else f"{'-':>{w}}" for k, w in
                                      (("prefill", 14), ("decode", 12), ("decode_batch", 12))))
    for name in list(best)[1:]:
        print(f"quire / {name}: " + ", ".join(f"{k} {best['quire'][k] / best[name][k]:.2f}" for k in best[name]))
    print(f"quire: 16 sequences / 1 sequence: {best['quire']['decode_batch'] / best['quire']['decode']:.2f}")


if __name__ == "__main__":
    main()
