#!/usr/bin/env python3
"""The program as its users start it: exit codes, processes, broken models, idle cost. Standard library only.

    tests/end_to_end.py build/release/quire [NAME…]"""
import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
QUIRE = ""


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(p) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)
        for p in (task / "children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Server:
    """A running `quire serve`; the context manager ends it."""

    def __init__(self, *flags, model=""):
        self.port = free_port()
        words = [QUIRE, "serve", *([str(model)] if model else []), "--port", str(self.port), *map(str, flags)]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL,
                                        env=os.environ | {"NO_COLOR": "1"})

    def __enter__(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}: {self.said()}")
            with contextlib.suppress(OSError):
                if self.get("/health")[0] == 200:
                    return self
            time.sleep(0.02)
        raise AssertionError(f"not ready within 60 s: {self.said()}")

    def __exit__(self, *_):
        self.stop()
        self.log.close()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise

    def said(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def request(self, path, body=None, timeout=60):
        """(status, headers, text)"""
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data,
                                       {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=timeout) as reply:
                return reply.status, reply.headers, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def get(self, path):
        return self.request(path)

    def complete(self, **fields):
        body = {"model": "quire-demo", "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0} | fields
        return self.request("/v1/completions", body)

    def open_stream(self, **fields):
        """A completion's event stream, open."""
        body = {"model": "quire-demo", "prompt": "Once upon a time", "stream": True} | fields
        return urllib.request.urlopen(urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/completions", json.dumps(body).encode(),
            {"Content-Type": "application/json"}), timeout=60)

    @property
    def engine(self):
        return children(self.process.pid)[0]


def run(*words, timeout=60, stdin=""):
    return subprocess.run([QUIRE, *map(str, words)], capture_output=True, text=True, timeout=timeout, input=stdin,
                          env=os.environ | {"NO_COLOR": "1"})


class CommandLine(unittest.TestCase):
    def test_version_and_help(self):
        self.assertRegex(run("--version").stdout, r"^quire \d+\.\d+\.\d+\n$")
        text = run("serve", "--help").stdout
        for flag in ("--max-num-seqs", "--api-key", "--dtype", "--served-model-name"):
            self.assertIn(flag, text)

    def test_bad_flags_exit_with_2_and_one_line(self):
        for words in (["serve", "--no-such-flag"], ["serve", "--port", "abc"], ["serve", "--port", "65536"],
                      ["serve", "--max-num-seqs", "0"], ["serve", "--block-size", "3"], ["serve", "--dtype", "int3"],
                      ["serve", "--max-model-len", "1"], ["serve", "-tp", "2"], ["serve", "/no/such/folder"],
                      ["serve", "--gpu-memory-utilization", "1.5"], ["serve", "--device", "abacus"], ["no-such-command"],
                      ["serve", "--max-model-len", "100000"], ["generate"], []):
            with self.subTest(words=words):
                done = run(*words)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)

    def test_generate_continues_a_text(self):
        one = run("generate", "-p", "Once upon a time", "--temperature", "0", "-n", "20")
        self.assertEqual(one.returncode, 0, one.stderr)
        self.assertTrue(one.stdout.startswith("Once upon a time, there was"), one.stdout)
        again = run("generate", "-p", "-", "--temperature", "0", "-n", "20", stdin="Once upon a time")
        self.assertEqual(again.stdout, one.stdout)

    def test_chat_answers_lines(self):
        done = run("chat", "--temperature", "0", "-n", "12", stdin="Once upon a time\n/new\nOnce upon a time\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.strip().splitlines()
        self.assertEqual(len(lines), 2, done.stdout)
        self.assertEqual(lines[0], lines[1])

    def test_a_port_in_use_exits_with_2(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            done = run("serve", "--port", taken.getsockname()[1])
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("in use", done.stderr)


class Processes(unittest.TestCase):
    def test_sigterm_and_ctrl_c_end_it_cleanly(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Server() as server:
                engine = server.engine
                server.process.send_signal(number)
                self.assertEqual(server.process.wait(10), 0, server.said())
                self.assertFalse(alive(engine))

    def test_the_engine_dies_with_the_front_end(self):
        with Server() as server:
            engine = server.engine
            server.process.kill()
            server.process.wait()
            deadline = time.monotonic() + 2
            while alive(engine) and time.monotonic() < deadline:
                time.sleep(0.02)
            self.assertFalse(alive(engine), "the engine lived on 2 s after the front end")

    def test_a_dead_engine_is_restarted_and_its_requests_end_with_an_error(self):
        with Server() as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
            want = server.complete()[2]
            fields = {"max_tokens": 480, "ignore_eos": True, "temperature": 1}
            stream = server.open_stream(n=60, **fields)
            first = stream.readline().decode()  # its status is sent: from here on an error is an event
            long = pool.submit(server.complete, n=64, **fields)
            time.sleep(0.1)
            old = server.engine
            os.kill(old, signal.SIGKILL)
            status, _, text = long.result(20)
            self.assertGreaterEqual(status, 500, text[:200])
            self.assertIn("message", json.loads(text)["error"])
            with stream:
                events = first + stream.read().decode()
            self.assertIn('"error"', events)
            self.assertTrue(events.rstrip().endswith("data: [DONE]"), events[-200:])
            seen, deadline = set(), time.monotonic() + 20
            while time.monotonic() < deadline:
                status, headers, text = server.complete()
                seen.add(status)
                if status == 200:
                    break
                self.assertEqual(status, 503, text)
                self.assertTrue(headers["Retry-After"].isdigit())
                self.assertEqual(server.get("/health")[0], 503)
                time.sleep(0.01)
            self.assertEqual(status, 200, server.said())
            self.assertEqual(json.loads(text)["choices"], json.loads(want)["choices"])
            self.assertNotEqual(server.engine, old)

    def test_idle_costs_nothing_and_the_first_token_comes_at_once(self):
        with Server() as server:
            server.complete()
            warm = min(self.seconds(server) for _ in range(20))
            time.sleep(1.2)
            pids = [server.process.pid, server.engine]
            before = [cpu_seconds(pid) for pid in pids]
            time.sleep(2)
            used = [cpu_seconds(pid) - b for pid, b in zip(pids, before)]
            self.assertLess(max(used), 0.021, "more than 1 % of a core while idle")
            waits = []
            for _ in range(5):
                time.sleep(1.1)
                waits.append(self.seconds(server) - warm)
            print(f"\nfirst token after a second's idling: {1000 * min(waits):.2f} ms later (of 5: "
                  f"{[round(1000 * w, 2) for w in waits]}), warm {1000 * warm:.2f} ms")
            self.assertLess(min(waits), 0.002)

    @staticmethod
    def seconds(server):
        start = time.monotonic()
        assert server.complete(max_tokens=1)[0] == 200
        return time.monotonic() - start

    def test_nothing_is_left_in_dev_shm(self):
        before = set(os.listdir("/dev/shm"))
        with Server() as server:
            server.complete()
            self.assertEqual(set(os.listdir("/dev/shm")) - before, set())


def models_folder():
    """models.tar.xz unpacked; None where there is none."""
    archive = SHARED / "models.tar.xz"
    if not archive.exists():
        return None
    out = ROOT / "build/shared-models"
    if not (out / ".complete").exists():
        out.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            tar.extractall(out)
        (out / ".complete").touch()
    return out


FAMILIES = ["llama_config_v5", "llama_gqa", "llama_mha_head_dim_default", "llama_rope_linear", "llama_rope_llama3",
            "llama_tied", "mistral_sliding", "qwen2", "qwen2_rope_yarn", "qwen2_tied", "qwen3"]


class Models(unittest.TestCase):
    def setUp(self):
        self.root = models_folder()
        if self.root is None:
            self.skipTest("there is no ../shared/models.tar.xz")

    def test_families_give_the_expected_answers(self):
        for name in FAMILIES:
            with self.subTest(model=name), Server("--dtype", "float32", "--skip-tokenizer-init",
                                                  model=self.root / name) as server:
                done = subprocess.run([sys.executable, SHARED / "accept/check_model.py",
                                       f"http://127.0.0.1:{server.port}", self.root / name, "--dtype", "float32"],
                                      capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_broken_folders(self):
        cases = json.loads((self.root / "broken/CASES.json").read_text())
        for name, case in cases.items():
            with self.subTest(model=name):
                getattr(self, "check_" + case["answer"])(self.root / "broken" / name, case["mentions"])

    def check_reject(self, folder, mentions):
        start = time.monotonic()
        done = run("serve", folder, "--port", free_port(), timeout=20)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertLess(time.monotonic() - start, 5)
        lines = [line for line in done.stderr.splitlines() if line.startswith("quire: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in mentions:
            self.assertIn(word, lines[0])

    def check_accept(self, folder, _mentions):
        with Server(model=folder) as server:
            self.assertEqual(server.complete(model=str(folder), prompt=[5, 6, 7])[0], 200, server.said())

    def check_request_error(self, folder, mentions):
        with Server(model=folder) as server:
            status, _, text = server.complete(model=str(folder), prompt=[5, 6, 7])
            self.assertGreaterEqual(status, 400, text)
            self.assertIn(mentions[0], json.loads(text)["error"]["message"])
            self.assertEqual(server.get("/health")[0], 200)

    def check_reject_or_400(self, folder, _mentions):
        with Server(model=folder) as server:
            self.assertEqual(server.complete(model=str(folder), prompt=[5, 310])[0], 400)
            self.assertIn("vocab", server.said())


if __name__ == "__main__":
    QUIRE = str(Path(sys.argv[1]).resolve())
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
