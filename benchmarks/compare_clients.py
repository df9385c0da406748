#!/usr/bin/env python3
"""Do others measure what we measure?  quire bench serve and AIPerf (NVIDIA's client, from PyPI) side by side.

  python3 benchmarks/compare_clients.py [BUILD] [--requests 200] [--concurrency 8] [--rate 2] [--only stub|quire]

Both send the same prompts to the stub server, whose times are known, so many at a time, and then to `quire serve` with a
model of random weights, at a constant rate that it can keep up with (else a slow client is rewarded: its server has less
to do). They take turns, --rounds times each; the table has medians of the rounds. The client is installed once, at a
pinned version, into build/clients-venv (1.2 GB). On a machine without cores to spare, what differs is the machine.
"""
import argparse, json, os, pathlib, shutil, signal, socket, statistics, subprocess, sys, tempfile, time, urllib.request

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
CLIENT = "aiperf==0.13.0"
TOKENIZER = ROOT / "share/quire/models/demo"  # the client wants one, though the server counts
# name, ours in vLLM's JSON, AIPerf's metric and statistic
ROWS = [
    ("Mean TTFT (ms)", "mean_ttft_ms", "time_to_first_token", "avg"),
    ("Median TTFT (ms)", "median_ttft_ms", "time_to_first_token", "p50"),
    ("P99 TTFT (ms)", "p99_ttft_ms", "time_to_first_token", "p99"),
    # AIPerf's inter-token latency is one mean a request, which others call TPOT; its gaps between chunks are the ITL.
    ("Mean TPOT (ms)", "mean_tpot_ms", "inter_token_latency", "avg"),
    ("Median TPOT (ms)", "median_tpot_ms", "inter_token_latency", "p50"),
    ("P99 TPOT (ms)", "p99_tpot_ms", "inter_token_latency", "p99"),
    ("Median ITL (ms)", "median_itl_ms", "inter_chunk_latency", "p50"),
    ("P99 ITL (ms)", "p99_itl_ms", "inter_chunk_latency", "p99"),
    ("Median E2EL (ms)", "median_e2el_ms", "request_latency", "p50"),
    ("Requests/s", "request_throughput", "request_throughput", "avg"),
    ("Output tokens/s", "output_throughput", "output_token_throughput", "avg"),
    ("Output tokens", "total_output_tokens", "total_output_tokens", "avg"),
]


def install():
    venv = ROOT / "build/clients-venv"
    program = venv / "bin/aiperf"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", CLIENT], check=True)
    return program


def run(command, **kwargs):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **kwargs)
    if done.returncode:
        sys.exit(f"{command[0]}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def measure_ours(args, folder, port, model, rate):
    load = ["--request-rate", rate, "--burstiness", "1e6"] if rate else ["--max-concurrency", args.concurrency]
    run([args.build / "quire", "bench", "serve", "--port", port, "--model", model, "--dataset-name", "custom",
         "--dataset-path", folder / "ours.jsonl", "--num-prompts", args.requests, "--output-len", args.output_len,
         *load, "--ignore-eos", "--temperature", "0", "--num-warmups", args.concurrency, "--disable-tqdm",
         "--percentile-metrics", "ttft,tpot,itl,e2el", "--save-result", "--result-dir", folder,
         "--result-filename", "ours.json"])
    result = json.loads((folder / "ours.json").read_text())
    if result["failed"]:
        sys.exit(f"quire bench serve: {result['failed']} requests failed")
    return {name: result[key] for name, key, _, _ in ROWS}


def measure_theirs(args, folder, port, model, rate, program):
    load = ["--request-rate", rate, "--arrival-pattern", "constant"] if rate else ["--concurrency", args.concurrency]
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    run([program, "profile", "-m", model, "--url", f"http://127.0.0.1:{port}", "--endpoint-type", "completions",
         "--streaming", "--tokenizer", TOKENIZER, "--use-server-token-count", "--input-file", folder / "theirs.jsonl",
         "--custom-dataset-type", "single_turn", "--request-count", args.requests, *load, "--warmup-request-count", args.concurrency, "--extra-inputs", f"max_tokens:{args.output_len}",
         "ignore_eos:true", "temperature:0", "--output-artifact-dir", folder / "theirs", "--ui", "none"],
        env=environment)
    result = json.loads((folder / "theirs/profile_export_aiperf.json").read_text())
    if result["request_count"]["avg"] != args.requests:
        sys.exit(f"aiperf: {result['request_count']['avg']:.0f} of {args.requests} requests completed")
    return {name: result[metric][statistic] for name, _, metric, statistic in ROWS}


def start_stub(args, folder):
    server = subprocess.Popen([args.build / "stub_openai_server", "--ttft-ms", str(args.ttft_ms), "--tpot-ms",
                               str(args.tpot_ms), "--ttft-sigma", "0.2", "--truth", folder / "truth.json"],
                              stdout=subprocess.PIPE, text=True)
    return server, int(server.stdout.readline().split()[1])


def make_model(folder):
    """Llama's shapes at 100 M parameters, so that a step takes a time that can be measured."""
    model = folder / "model"
    shutil.copytree(TOKENIZER, model, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((model / "config.json").read_text())
    config |= {"hidden_size": 768, "intermediate_size": 2560, "num_hidden_layers": 12, "num_attention_heads": 12,
               "num_key_value_heads": 12, "head_dim": 64, "torch_dtype": "bfloat16"}
    (model / "config.json").write_text(json.dumps(config))
    return model


def start_quire(args, folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = open(folder / "serve.log", "w")
    server = subprocess.Popen([args.build / "quire", "serve", make_model(folder), "--load-format", "dummy",
                               "--no-enable-prefix-caching", "--threads", str(max(1, (os.cpu_count() or 1) // 2)),
                               "--served-model-name", "random", "--port", str(port)], stdout=log, stderr=log)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
            return server, port
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    server.kill()
    sys.exit(f"quire serve did not come up:\n{(folder / 'serve.log').read_text()[-2000:]}")


def read_truth(folder):
    """What the stub had planned, which depends on the prompt alone: a perfect client's figures."""
    file = folder / "truth.json"
    if not file.exists():
        return {}
    requests = {r["tag"]: r for r in json.loads(file.read_text())["requests"]}.values()

    def figure(metric, statistic):
        values = sorted(r[metric] for r in requests)
        if statistic == "Mean":
            return statistics.fmean(values)
        rank = (0.5 if statistic == "Median" else 0.99) * (len(values) - 1)
        low = int(rank)
        return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (rank - low)

    names = {"TTFT": "ttft_ms", "TPOT": "tpot_ms", "ITL": "tpot_ms", "E2EL": "e2el_ms"}  # the stub's gaps are even
    return {row: figure(names[row.split()[1]], row.split()[0]) for row, _, _, _ in ROWS if row.endswith("(ms)")}


def compare(args, name, start, folder, program, rate):
    ours, theirs = [], []
    server, port = start(args, folder)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models") as reply:
            model = json.load(reply)["data"][0]["id"]
        for _ in range(args.rounds):
            ours.append(measure_ours(args, folder, port, model, rate))
            theirs.append(measure_theirs(args, folder, port, model, rate, program))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    truth = read_truth(folder)
    how = f"{rate:g} a second" if rate else f"{args.concurrency} at a time"
    print(f"\n{name}: {args.requests} requests, {how}, {args.output_len} tokens each, "
          f"medians of {args.rounds} rounds")
    print(f"{'':<22}{'quire bench':>14}{CLIENT:>16}{'difference':>12}{'truth' if truth else '':>12}")
    for row, _, _, _ in ROWS:
        a, b = (statistics.median(r[row] for r in rounds) for rounds in (ours, theirs))
        known = f"{truth[row]:>12.2f}" if row in truth else ""
        print(f"{row:<22}{a:>14.2f}{b:>16.2f}{100 * (b - a) / a:>+11.2f}%{known}", flush=True)
    (folder / "truth.json").unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", nargs="?", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2, help="requests/s to quire serve")
    parser.add_argument("--output-len", type=int, default=50)
    parser.add_argument("--ttft-ms", type=float, default=200)
    parser.add_argument("--tpot-ms", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["stub", "quire"])
    args = parser.parse_args()
    program = install()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        prompts = [f"tag{i} " + " ".join(f"w{(i * 37 + j * 11) % 1000}" for j in range(6)) for i in range(args.requests)]
        (folder / "ours.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
        (folder / "theirs.jsonl").write_text("".join(json.dumps({"text": p}) + "\n" for p in prompts))
        if args.only != "quire":
            compare(args, "stub server", start_stub, folder, program, 0)
        if args.only != "stub":
            compare(args, "quire serve, 100 M random parameters", start_quire, folder, program, args.rate)


if __name__ == "__main__":
    main()
