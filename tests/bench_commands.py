#!/usr/bin/env python3
"""`quire bench` against `quire serve`, as its users type it. Standard library only.

    tests/bench_commands.py build/release/quire [NAME…]"""
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import end_to_end
from end_to_end import Server, alive, free_port, run

KEY = "sk-secret-7f3a9"
SHORT = ("--random-input-len", 20, "--random-output-len", 12, "--ignore-eos", "--disable-tqdm")


def bench(server, *words, timeout=120, **variables):
    return subprocess.run([end_to_end.QUIRE, "bench", words[0], "--port", str(server.port), *map(str, words[1:])],
                          capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL,
                          env=os.environ | {"NO_COLOR": "1"} | variables)


def figure(text, name):
    """A figure of vLLM's lines."""
    return float(next(line for line in text.splitlines() if line.startswith(name)).split()[-1])


class BenchTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.server = stack.enter_context(Server())
        cls.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def check(self, done, code=0):
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def saved(self, *words):
        """The JSON of a run that succeeded."""
        file = self.folder / f"{self.id().rpartition('.')[2]}.json"
        self.check(bench(self.server, *words, "--result-filename", file))
        return json.loads(file.read_text())


class Serve(BenchTest):
    def test_totals_are_exact(self):
        done = self.check(bench(self.server, "serve", "--num-prompts", 15, *SHORT))
        self.assertEqual(figure(done.stdout, "Successful requests:"), 15)
        self.assertEqual(figure(done.stdout, "Failed requests:"), 0)
        self.assertEqual(figure(done.stdout, "Total generated tokens:"), 15 * 12)
        self.assertEqual(figure(done.stdout, "Total input tokens:"), 15 * 21)  # the server adds a BOS
        self.assertIn("Median TTFT (ms)", done.stdout)
        self.assertIn("quire-demo", done.stdout)
        self.assertIn("Quire ", done.stderr)

    def test_token_ids_are_sent_as_they_are(self):
        result = self.saved("serve", "--num-prompts", 6, "--prompt-token-ids", *SHORT)
        self.assertEqual(result["total_input_tokens"], 6 * 20)
        self.assertEqual(result["total_output_tokens"], 6 * 12)

    def test_the_result_has_vllms_fields(self):
        report = self.folder / "deep" / "report.html"
        result = self.saved("serve", "--num-prompts", 10, "--request-rate", 50, "--max-concurrency", 4, "--num-warmups", 2,
                            "--save-detailed", "--goodput", "ttft:60000", "tpot:60000", "--label", "here",
                            "--metadata", "host=lab", "--percentile-metrics", "ttft,e2el", "--metric-percentiles", "50,90",
                            "--cost-per-hour", 3, "--report", report, *SHORT)
        for name, want in {"label": "here", "model_id": "quire-demo", "num_prompts": 10, "request_rate": 50, "completed": 10,
                           "failed": 0, "max_concurrency": 4, "backend": "openai", "host": "lab", "burstiness": 1}.items():
            self.assertEqual(result[name], want, name)
        for name in ("date", "duration", "request_throughput", "request_goodput", "output_throughput",
                     "total_token_throughput", "mean_ttft_ms", "median_e2el_ms", "p50_ttft_ms", "p90_e2el_ms"):
            self.assertTrue(result[name], name)
        for name in ("input_lens", "output_lens", "ttfts", "itls", "start_times", "generated_texts", "errors"):
            self.assertEqual(len(result[name]), 10, name)
        self.assertEqual(result["output_lens"], [12] * 10)
        self.assertAlmostEqual(result["request_goodput"], result["request_throughput"])
        self.assertNotIn("interrupted", result)
        ours = result["quire"]
        self.assertIn("Server", [line[0] for line in ours["host"]])
        self.assertIn("bench serve --port", ours["config"]["command"])
        self.assertTrue(report.read_text().lower().startswith("<!doctype html"))

    def test_the_offered_rate_is_kept(self):
        result = self.saved("serve", "--num-prompts", 20, "--request-rate", 20, *SHORT)
        self.assertGreater(result["duration"], 0.9)
        self.assertLess(result["duration"], 5)

    def test_a_closed_loop_is_never_wider_than_its_users(self):
        result = self.saved("serve", "--num-prompts", 12, "--closed-loop-users", 3, *SHORT)
        self.assertEqual(result["completed"], 12)
        self.assertLessEqual(result["max_concurrent_requests"], 3)

    def test_other_backends_and_datasets(self):
        custom = self.folder / "custom.jsonl"
        custom.write_text('{"prompt": "Once upon a time"}\n{"prompt": "The cat"}\n')
        for words in (("--backend", "openai-chat"), ("--backend", "vllm", "--header", "X-A=b", "--temperature", 0.5, "--top-k", 5),
                      ("--dataset-name", "prefix_repetition", "--prefix-repetition-prefix-len", 16,
                       "--prefix-repetition-suffix-len", 8, "--output-len", 12),
                      ("--dataset-name", "custom", "--dataset-path", custom, "--custom-output-len", 12),
                      ("--extra-body", '{"stop": []}', "--base-url", f"http://127.0.0.1:{self.server.port}/v1")):
            with self.subTest(words=words):
                result = self.saved("serve", "--num-prompts", 4, *words, *SHORT)
                self.assertEqual((result["completed"], result["total_output_tokens"]), (4, 48), result)

    def test_conversations_send_every_turn(self):
        result = self.saved("serve", "--dataset-name", "multi_turn", "--backend", "openai-chat", "--num-prompts", 2, "--turns", 3,
                            *SHORT)
        self.assertEqual(result["completed"], 6, result["quire"]["errors"])

    def test_errors_are_one_line(self):
        away = ("--base-url", f"http://127.0.0.1:{free_port()}")
        for code, mentions, words in (
                (1, "refused", away),
                (1, "refused", (*away, "--ready-check-timeout-sec", 0.3)),
                (1, "resolve", ("--base-url", "http://no-such-host.invalid:80")),
                (2, "'nope'", ("--model", "nope")),
                (2, "/no/such", ("--dataset-name", "sharegpt", "--dataset-path", "/no/such")),
                (2, "--dataset-path", ("--dataset-name", "custom")),
                (2, "--request-rate", ("--request-rate", 0)), (2, "--seed", ("--seed", "-1")),
                (2, "--goodput", ("--goodput", "speed:3")), (2, "--num-prompts", ("--num-prompts", -1)),
                (2, "--num-prompts", ("--num-prompts", 0)), (2, "--burstiness", ("--burstiness", 0)),
                (2, "--extra-body", ("--extra-body", "[]")), (2, "https", ("--base-url", "https://127.0.0.1")),
                (2, "--header", ("--header", "a b=c")), (2, "--max-concurrency", ("--max-concurrency", 0)),
                (2, "--tokenizer", ("--tokenizer", "/no/such")), (2, "--report", ("--report", "/proc/none/x.html")),
                (2, "/no/such.json", ("--compare", "/no/such.json")),
                (2, "--prompt-token-ids", ("--backend", "openai-chat", "--prompt-token-ids")),
                (2, "no-such-flag", ("--no-such-flag",)),
                (2, "context", ("--random-input-len", 100000)), (1, "404", ("--endpoint", "/v1/none", "--random-input-len", 10))):
            with self.subTest(words=words):
                done = self.check(bench(self.server, "serve", "--num-prompts", 3, *words) if "--num-prompts" not in words
                                  else bench(self.server, "serve", *words), code)
                lines = [line for line in done.stderr.splitlines() if line.startswith("quire: ")]
                self.assertEqual(len(lines), 1, done.stderr)
                self.assertIn(mentions, lines[0])
                self.assertEqual(done.stdout, "")

    def test_ctrl_c_prints_what_there_is(self):
        file = self.folder / "interrupted.json"
        process = subprocess.Popen(
            [end_to_end.QUIRE, "bench", "serve", "--port", str(self.server.port), "--num-prompts", "2000", "--request-rate",
             "50", "--result-filename", str(file), *map(str, SHORT)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1, err)
        self.assertIn("interrupted", out)
        done = figure(out, "Successful requests:")
        self.assertTrue(5 < done < 1000, out)
        result = json.loads(file.read_text())
        self.assertTrue(result["interrupted"])
        self.assertEqual(result["completed"], done)

    def test_a_terminal_has_a_bar(self):
        ours, theirs = pty.openpty()
        words = [end_to_end.QUIRE, "bench", "serve", "--port", self.server.port, "--num-prompts", 60, "--request-rate", 40, *SHORT]
        words.remove("--disable-tqdm")
        process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 65536):
                seen += piece
        os.close(ours)
        self.assertEqual(process.wait(30), 0, seen)
        for word in (b"/60", b"tok/s", b"in flight", b"\r"):
            self.assertIn(word, seen)
        self.assertTrue(seen.endswith(b"\x1b[K"), seen[-80:])


class Keys(unittest.TestCase):
    def test_the_key_is_sent_and_never_kept(self):
        with tempfile.TemporaryDirectory() as name, KeyServer() as server:
            folder = Path(name)
            done = bench(server, "serve", "--num-prompts", 2, *SHORT)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--api-key", done.stderr)
            said = ""
            for i, (words, variables) in enumerate(((("--api-key", KEY), {}), ((f"--api-key={KEY}",), {}), ((), {"OPENAI_API_KEY": KEY}),
                                                    (("--header", f"Authorization=Bearer {KEY}"), {}))):
                done = bench(server, "serve", "--num-prompts", 2, *SHORT, *words, "--result-filename", folder / f"{i}.json",
                             "--save-detailed", "--report", folder / f"{i}.html", **variables)
                self.assertEqual(done.returncode, 0, done.stderr)
                said += done.stdout + done.stderr
            done = bench(server, "sweep", "--num-prompts", 2, "--max-runs", 1, "--api-key", KEY, *SHORT, "--result-filename",
                         folder / "s.json", "--report", folder / "s.html")
            self.assertEqual(done.returncode, 0, done.stderr)
            done = bench(server, "serve", "--api-key", KEY, "--num-prompts", "x")
            self.assertEqual(done.returncode, 2)
            for file in folder.iterdir():
                said += file.read_text()
            self.assertIn("***", said)
            self.assertNotIn(KEY, said + done.stderr)


class KeyServer(Server):
    """A server that asks for a key; /health does not."""

    def __init__(self):
        super().__init__("--api-key", KEY)


class FullQueue(unittest.TestCase):
    def test_refusals_are_counted_and_explained(self):
        with Server("--max-num-seqs", 1, "--max-num-queued-reqs", 1) as server:
            done = bench(server, "serve", "--num-prompts", 40, "--random-input-len", 20, "--random-output-len", 400, "--ignore-eos")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertGreater(figure(done.stdout, "Failed requests:"), 0)
            self.assertIn("429", done.stdout)
            self.assertIn("--max-concurrency", done.stdout)


class Sweep(BenchTest):
    def test_a_sweep_ends_with_a_curve(self):
        file, report = self.folder / "sweep.json", self.folder / "sweep.html"
        done = self.check(bench(self.server, "sweep", "--num-prompts", 10, "--slo", "ttft:p99:60000", "e2el:p50:60000", "--min-rate",
                                100, "--max-rate", 400, *SHORT, "--result-filename", file, "--report", report))
        self.assertEqual(done.stderr.count(" met"), 3, done.stderr)
        sweep = json.loads(file.read_text())
        self.assertEqual(sweep["best_rate"], 400)
        self.assertEqual([point["request_rate"] for point in sweep["points"]], [100, 200, 400])
        self.assertEqual(len({point["run"]["quire"]["config"]["seed"] for point in sweep["points"]}), 3)
        self.assertIn("p50_e2el_ms", sweep["points"][0]["run"])
        self.assertIn("<svg", report.read_text())
        none = self.check(bench(self.server, "sweep", "--seconds-per-run", 0.2, "--slo", "ttft:0.001", "--max-runs", 2, *SHORT))
        self.assertIn("--min-rate", none.stdout)

    def test_bad_flags_exit_with_2(self):
        for words in (("--slo", "ttft"), ("--slo", "ttft:p101:5"), ("--min-rate", 10, "--max-rate", 5), ("--max-runs", 0),
                      ("--tolerance", 0), ("--request-rate", 5), ("--dataset-name", "azure")):
            with self.subTest(words=words):
                done = self.check(bench(self.server, "sweep", *words), 2)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)


class Compare(BenchTest):
    def test_runs_stand_side_by_side(self):
        for name in ("one", "two"):
            self.check(bench(self.server, "serve", "--num-prompts", 3, "--label", name, "--result-filename", self.folder / name, *SHORT))
        files = (self.folder / "one", self.folder / "two")
        done = self.check(run("bench", "compare", *files))
        self.assertRegex(done.stdout, r"one +two")
        self.assertIn("Output (tokens/s)", done.stdout)
        done = self.check(bench(self.server, "serve", "--num-prompts", 3, "--label", "three", *SHORT, "--compare", *files))
        self.assertRegex(done.stdout, r"one +two +three")


class Startup(unittest.TestCase):
    def test_starts_are_measured_and_ended(self):
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "startup.json"
            done = run("bench", "startup", "--num-iters", 2, "--output-json", file, "--", "--max-num-seqs", 4)
            self.assertEqual(done.returncode, 0, done.stderr)
            result = json.loads(file.read_text())
        self.assertEqual(len(result["cold_startup_times"]), 2)
        self.assertEqual(len(result["quire"]["warm_first_token_times"]), 2)
        for health, token in zip(result["warm_startup_times"], result["quire"]["warm_first_token_times"]):
            self.assertTrue(0 < health < token < 60)
        self.assertIn("total_startup_time", done.stdout)
        self.assertIn("--max-num-seqs 4", result["quire"]["command"])

    def test_errors(self):
        for code, mentions, words in ((2, "--port", ("--", "--port", "80")), (2, "/no/such", ("/no/such",)),
                                      (1, "ended with code 2", ("--", "--no-such-flag")),
                                      (2, "/no/such", ("--command", "/no/such --port {port}")),
                                      (2, "--command", ("--command", "'x")), (2, "--num-iters", ("--num-iters", 0))):
            with self.subTest(words=words):
                done = run("bench", "startup", *words)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn(mentions, done.stderr.splitlines()[-1])

    def test_ctrl_c_leaves_no_server_behind(self):
        process = subprocess.Popen([end_to_end.QUIRE, "bench", "startup", "--num-iters", "1000"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        seen = set()
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                seen.update(end_to_end.children(process.pid))
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1, err)
        self.assertIn("interrupted", out)
        self.assertTrue(seen)
        self.assertFalse([pid for pid in seen if alive(pid)])


if __name__ == "__main__":
    end_to_end.QUIRE = str(Path(sys.argv[1]).resolve())
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
