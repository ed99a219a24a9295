"""Agents in a sandbox: honest ones play as they do outside, and the others find nothing and harm nothing."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.leaderboards import experiments
from valuegym.leaderboards.board import operations, sandbox
from valuegym.leaderboards.board.agent_host import decode, describe, encode, rebuild
from valuegym.leaderboards.board.sandbox import AgentFailure, Limits, Remote
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.record import read_record
from valuegym.leaderboards.records.submission import EXAMPLE, Card, open_submission, read_member
from valuegym.leaderboards.run import play_record, run
from valuegym.leaderboards.trust import judgement
from valuegym.leaderboards.trust.commitment import agent_digest
from valuegym.leaderboards.trust.ledger import read_ledger
from valuegym.leaderboards.trust.tiers import LIMITS

WALK = Experiment("test/walk", "", "valuegym/Delivery-v0", "{}", ("uniform",), 0, 3, (0, 1), "return")
TRAINED = Experiment("test/trained", "", "valuegym/Delivery-v0", "{}", ("uniform",), 50, 3, (0, 1), "return")
WEIGHTS = Experiment(
    "test/weights",
    "",
    "valuegym/RewardInference-v0",
    '{"annotator": "regret", "evaluation_points": [0, 3], "split": "dev"}',
    ("uniform",),
    0,
    2,
    (0,),
    "evaluation_points",
)
UNIFORM = "from valuegym.agents.uniform import Uniform as make\n"
ROOT = Path(__file__).resolve().parents[3]
HEAD = "import os, sys, time\nimport numpy as np\n"
Agent = Callable[..., Path]


@pytest.fixture(autouse=True, scope="module")
def small_experiments(enrol: Callable[..., None]) -> None:
    enrol(WALK, WEIGHTS, TRAINED)


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """Makes an agent's folder from the source of its agent.py."""

    def make(source: str) -> Path:
        folder = tmp_path / "agent"
        folder.mkdir(exist_ok=True)
        (folder / "agent.py").write_text(source, encoding="utf-8")
        return folder

    return make


def answering(body: str) -> str:
    """An agent whose predict has this body."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return (
        f"{HEAD}class Agent:\n"
        "    def predict(self, observation, state=None, episode_start=None, deterministic=True):\n"
        f"        n = len(episode_start)\n{lines}\n"
        "def make(env, seed):\n    return Agent()\n"
    )


def ask(folder: Path, rows: int = 3, asks: int = 1, **limits: Any) -> np.ndarray:
    """The answer of an agent in a sandbox to a delivery task."""
    envs = gym.make_vec("valuegym/Delivery-v0", num_envs=rows)
    observation, _ = envs.reset(seed=0)
    with Remote(folder, gym.make("valuegym/Delivery-v0"), ("x", {}), 0, Limits(**limits)) as player:
        for _ in range(asks):
            action, _ = player.predict(observation, episode_start=np.ones(rows, bool))
    return action


# --- the pipe ---


def test_messages_are_read_back() -> None:
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.array([True]),
        "c": np.zeros((0, 4), np.int8),
        "d": np.array(7),
    }
    content = encode({"op": "x"}, arrays)
    head = int.from_bytes(content[:4], "big")
    header, found = decode(content[12 : 12 + head], content[12 + head :])
    assert header == {"op": "x"} and list(found) == list(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


@pytest.mark.parametrize(
    "head",
    [
        b"", b"{}", b"[]", b"\xff", b"{" * 10_000, b'{"arrays": 3}', b'{"arrays": [["a", "|O", [1]]]}',
        b'{"arrays": [["a", "<f8", [-1]]]}', b'{"arrays": [["a", "<f8", [1000000000]]]}',
        b'{"arrays": [["a", "<f8", [2147483647, 2147483647, 2147483647]]]}', b'{"arrays": [["a", "<f8", [0.5]]]}',
        b'{"arrays": [["a", "<U1", [2]]]}', b'{"arrays": [["a", "V8", [1]]]}', b'{"arrays": [["a", "<f8", "1"]]}',
        b'{"arrays": [[[], "<f8", [1]]]}', b'{"arrays": [["a", "<f4", [1]]]}', b'{"arrays": []}',
        b'{"arrays": [["a", "f8,f8", [1]]]}', b'{"arrays": [["a", "<f8", [[1]]]]}',
    ],
)  # fmt: skip
def test_messages_that_are_none_are_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match="an invalid message"):
        decode(head, b"\0" * 8)


def test_spaces_are_described() -> None:
    for name in ("valuegym/Delivery-v0", "valuegym/RewardInference-v0", "CartPole-v1"):
        env = gym.make(name)
        for space in (env.observation_space, env.action_space):
            assert rebuild(json.loads(json.dumps(describe(space)))) == space
    flat = gym.spaces.Dict({"a": gym.spaces.MultiDiscrete([2, 3]), "b": gym.spaces.Discrete(4, start=1)})
    assert rebuild(describe(flat)) == flat
    with pytest.raises(TypeError, match="cannot be described"):
        describe(gym.spaces.Text(3))


def test_nothing_is_run_without_a_sandbox(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    sandbox.missing.cache_clear()
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    folder = agent(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    try:
        with pytest.raises(OSError, match=r"needs root.*Untrusted agents are not run without one"):
            Remote(folder, gym.make("valuegym/Delivery-v0"), ("x", {}), 0)
        operations.begin(tmp_path / "ledger", "test")
        (tmp_path / "card.json").write_text(json.dumps(EXAMPLE), encoding="utf-8")
        arguments = [
            "--commitment",
            "0",
            "--nonce",
            "x",
            "--card",
            str(tmp_path / "card.json"),
        ]
        assert main(["board", "execute", str(tmp_path / "ledger"), str(folder), *arguments]) == 2
        assert "needs root" in capsys.readouterr().err
        for value, reason in (("win32", "needs Linux"), ("linux", "needs root")):
            sandbox.missing.cache_clear()
            monkeypatch.setattr(sys, "platform", value)
            assert reason in sandbox.missing()
    finally:
        sandbox.missing.cache_clear()
    assert not (tmp_path / "ran").exists()


# --- honest agents ---


@pytest.mark.sandbox
@pytest.mark.parametrize("name", ["test/walk", "test/weights"])  # and others in test_agents_in_sandbox.py
def test_an_agent_plays_inside_as_it_does_outside(agent: Agent, tmp_path: Path, name: str) -> None:
    what = experiments.find(name)
    seeds = what.evaluation_seeds(0)
    inside = operations._played(agent(UNIFORM), "uniform", name, 0, seeds, None, None)
    assert inside == read_record(run("uniform", name, 0, tmp_path / "results"))


@pytest.mark.sandbox
def test_memory_lasts_within_a_run_and_prints_do_no_harm(agent: Agent) -> None:
    source = answering(
        "state = 0 if state is None else state + 1\nprint('hello', flush=True)\nreturn np.full(n, state), state"
    )
    assert (ask(agent(source), asks=3) == 2).all()
    assert (ask(agent(source), asks=1) == 0).all()


@pytest.mark.sandbox
def test_a_board_executes_a_committed_agent(agent: Agent, tmp_path: Path, make_key, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    key, folder = make_key(), agent(UNIFORM)
    signed = ["--key", str(key)]
    (tmp_path / "card.json").write_text(json.dumps(EXAMPLE | {"name": "visitor"}), encoding="utf-8")
    operations.begin("ledger", "test", key)
    operations.open_period("ledger", "nonce", key)
    operations.commit("ledger", "visitor", "me", agent_digest(folder), ["test/weights", "test/walk"], key)
    command = ["board", "execute", "ledger", str(folder), "--commitment", "2", "--nonce", "nonce", *signed]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert f"tier      executed: {LIMITS['executed']}" in output and "entry     4 of ledger" in output
    attempt, entry = read_ledger("ledger").entries[3:]
    assert (attempt.kind, attempt.body) == ("attempt", {"commitment": 2}) and entry.body["attempt"] == 3
    assert entry.body["tier"] == "executed" and set(entry.body["scores"]) == {"test/walk", "test/weights"}
    assert main(command) == 2  # one submission for each commitment
    assert "entry 4 is the one verdict on running commitment 2" in capsys.readouterr().err
    operations.reveal("ledger", "nonce", key)
    ledger = read_ledger("ledger")
    found = judgement.judge("agent.zip", ledger=ledger)
    assert found.reason == "this file was accepted before, in entry 4."
    submission = open_submission("agent.zip")
    seeds = judgement.sealed_seeds(submission, ledger)
    for name, content in submission.records.items():
        record = read_member(name, content, "visitor")
        assert [episode.seed for episode in record.episodes] == list(seeds[name])


@pytest.mark.sandbox
def test_only_the_committed_agent_is_executed(agent: Agent, tmp_path: Path) -> None:
    folder, board, nonce = agent(UNIFORM), tmp_path / "ledger", tmp_path / "nonce"
    operations.begin(board, "test")
    operations.open_period(board, nonce)
    operations.commit(board, "visitor", "me", agent_digest(folder), ["test/walk"])
    visitor, other = (Card.of(EXAMPLE | {"name": name}) for name in ("visitor", "other"))
    agent(UNIFORM + "# better\n")
    with pytest.raises(ValueError, match="are not the agent that commitment 2 fixed"):
        operations.execute(board, 2, folder, visitor, nonce, tmp_path / "x.zip")
    agent(UNIFORM)
    with pytest.raises(ValueError, match="are not the agent that commitment 2 fixed"):
        operations.execute(board, 2, folder, other, nonce, tmp_path / "x.zip")
    nonce.write_text("07" * 32, encoding="ascii")
    with pytest.raises(ValueError, match="does not hold the nonce of period 0"):
        operations.execute(board, 2, folder, visitor, nonce, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists() and len(read_ledger(board).entries) == 3


# --- training ---


def learning(body: str, before: str = "") -> str:
    """An agent whose learn has this body; afterwards it plays `self.choice`."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return (
        f"{HEAD}import zlib\nclass Agent:\n"
        f"    def __init__(self, env, seed):\n        self.env, self.seed, self.choice = env, seed, 0\n"
        f"    def learn(self, timesteps):\n{lines}\n"
        "    def predict(self, observation, state=None, episode_start=None, deterministic=True):\n"
        f"        {before}\n        return np.full(len(episode_start), self.choice), None\n"
        "def make(env, seed):\n    return Agent(env, seed)\n"
    )


# What it plays depends on every observation, reward and end that it trained on.
TRAINEE = learning("""rng, seen = np.random.default_rng(self.seed), 0
observation, _ = self.env.reset()
for _ in range(timesteps):
    observation, reward, *ends, _ = self.env.step(rng.integers(4))
    seen = zlib.crc32(repr((observation, reward, *ends)).encode(), seen)
    if any(ends):
        self.env.reset(seed=seen)
self.choice = seen % 4""")


@pytest.mark.sandbox
@pytest.mark.parametrize("name", ["test/trained", "control/lqr"])
def test_an_agent_trains_inside_as_it_does_outside(agent: Agent, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first reset names no seed, the board gives it the run's."""
    source = TRAINEE
    if name == "control/lqr":  # actions are numbers
        monkeypatch.setitem(experiments.EXPERIMENTS, name, replace(experiments.find(name), timesteps=60))
        source = source.replace("rng.integers(4)", "rng.uniform(-1, 1, self.env.action_space.shape).astype('f4')")
        source = source.replace("seen % 4", "np.float32(seen % 1000 / 1000)")
        source = source.replace("np.full(len(episode_start), ", "np.full((len(episode_start), 1), ")
    what, module = experiments.find(name), {}
    exec(source, module)
    outside = module["make"](gym.make(what.env_id), 1)
    outside.env = Seeded(outside.env, 1)
    outside.learn(what.timesteps)
    seeds = what.evaluation_seeds(1)
    inside = operations._played(agent(source), "visitor", name, 1, seeds, None, None)
    assert inside == play_record(outside, "visitor", name, 1, None, seeds)


class Seeded(gym.Wrapper):
    """Gives the first reset a seed."""

    def __init__(self, env: gym.Env, seed: int) -> None:
        super().__init__(env)
        self.seed: int | None = seed

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        first, self.seed = self.seed, None
        return self.env.reset(seed=first if seed is None else seed, options=options)


def train(folder: Path, timesteps: int = 50, **limits: Any) -> Any:
    """What an agent plays in a sandbox after it was let learn on the delivery task."""
    env = gym.make("valuegym/Delivery-v0")
    with Remote(folder, env, ("x", {}), 0, Limits(**limits)) as player:
        player.learn(timesteps)
        observation, _ = gym.make_vec("valuegym/Delivery-v0", num_envs=1).reset(seed=0)
        return player.predict(observation, episode_start=np.ones(1, bool))[0][0]


@pytest.mark.sandbox
@pytest.mark.parametrize("catches", [False, True])
def test_the_board_counts_the_steps(agent: Agent, catches: bool) -> None:
    body = "self.env.reset()\nwhile True:\n    *_, done, cut, _ = self.env.step(1)\n    self.choice += 1\n"
    body += "    if done or cut: self.env.reset()"
    if catches:  # whoever goes on asking gets no more
        body = "self.env.reset()\nfor _ in range(500):\n    try:\n        *_, done, cut, _ = self.env.step(1)\n"
        body += "        self.choice += 1\n        if done or cut: self.env.reset()\n    except Exception: pass"
    assert train(agent(learning(body)), 300) == 300
    assert train(agent(learning(body)), 0) == 0


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("self.env.step(1)", "something else than a reset or a step"),
        ("self.env.reset(seed=-1)", "an invalid training seed"),
        ("self.env.reset(seed=2**70)", "an invalid training seed"),
        ("self.env.reset(options={'cell': 3})", "options cannot be given"),
        ("self.env.reset()\nself.env.step(4)", "something that is not an action"),
        ("self.env.reset()\nself.env.step(0.5)", "something that is not an action"),
        ("self.env.reset()\nself.env.step([1, 2])", "sent more than an answer can hold|actions of shape"),
        ("self.env.reset()\nself.env.step(None)", "sent an invalid message"),
        ("time.sleep(60)", "used more than 2 s"),
        ("while True:\n    self.env.reset()", "used more than 2 s"),
        ("1 / 0", "ZeroDivisionError"),
        ("os._exit(0)", "ended by itself"),
    ],
)
def test_invalid_training_is_named(agent: Agent, body: str, reason: str) -> None:
    endless = "60" in body or "while" in body
    with pytest.raises(AgentFailure) as error:
        train(agent(learning(body)), total=2 if endless else 60)
    assert any(part in str(error.value) for part in reason.split("|")), error.value


@pytest.mark.sandbox
def test_only_learning_has_steps(agent: Agent) -> None:
    with pytest.raises(AgentFailure, match="only while the board lets the agent learn"):
        train(agent(learning("pass", before="self.env.reset()")))
    assert train(agent(answering("return np.full(n, 2), None"))) == 2  # it has no learn: it plays as it is


@pytest.mark.sandbox
@pytest.mark.slow
def test_proximal_policy_optimisation_trains_inside_as_outside(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stable-Baselines3 takes the piped environment for an environment."""
    pytest.importorskip("stable_baselines3")
    from valuegym.agents import make

    what = replace(experiments.find("preference/delivery"), timesteps=4096)  # two whole rollouts of PPO
    monkeypatch.setitem(experiments.EXPERIMENTS, what.id, what)
    outside = make("ppo", gym.make(what.env_id, **what.kwargs), seed=0)
    outside.learn(what.timesteps)
    seeds = what.evaluation_seeds(0)
    source = "from valuegym.agents.ppo import make\n"
    inside = operations._played(agent(source), "ppo", what.id, 0, seeds, None, Limits(memory=2**35, processes=64))
    assert inside == play_record(outside, "ppo", what.id, 0, None, seeds)


# --- others ---


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return np.zeros(n + 1, int), None", "did not answer with actions of shape (3,)"),
        ("return np.zeros((n, 1), int), None", "sent more than|actions of shape (3,)"),
        ("return np.zeros(10**6, int), None", "sent more than an answer can hold"),
        ("return ['a'] * n, None", "sent an invalid message"),
        ("return None, None", "sent an invalid message"),
        ("return np.array([{}] * n), None", "sent an invalid message"),
        ("return 1 / 0", "failed: 'ZeroDivisionError: division by zero'"),
        ("raise SystemExit(3)", "ended by itself"),
        ("os.write(3, b'x' * 100000)\ntime.sleep(60)", "sent|took|Bad file|failed"),
        ("os._exit(0)", "ended by itself"),
        ("os.kill(os.getpid(), 9)\ntime.sleep(60)", "ended by itself|took over"),
        ("time.sleep(60)", "took over 1.5 s to answer"),
        ("while True: pass", "took over 1.5 s to answer"),
        ("x = bytearray(8 * 2**30)", "MemoryError"),
        ("os.fork()", "BlockingIOError"),
        ("import threading; threading.Thread(target=print).start()", "can't start new thread"),
        ("open('/scratch/x', 'wb').write(b'0' * 2**24)", "ended by itself|failed"),
        ("raise ValueError('\\u202e' + 'x' * 10**6 + '\\n\\x1b[31m')", "failed"),
    ],
)  # fmt: skip
def test_an_agent_that_fails_is_named_and_ended(agent: Agent, body: str, reason: str) -> None:
    began = time.monotonic()
    with pytest.raises(AgentFailure) as error:
        ask(agent(answering(body)), answer=1.5 if "60" in body or "while" in body else 20)
    assert any(part in str(error.value) for part in reason.split("|")), error.value
    assert str(error.value).isprintable() and len(str(error.value)) < 400
    assert time.monotonic() - began < 60  # it slept on for 60 s, unless it was ended


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "source", ["raise RuntimeError('no')", "x = 1", "def make(env): pass", "import nothing_at_all"]
)
def test_an_agent_that_cannot_be_made_is_named(agent: Agent, source: str) -> None:
    with pytest.raises(AgentFailure, match="failed"):
        ask(agent(source))


def told(agent: Agent, facts: dict[str, str]) -> dict[str, str]:
    """What expressions are worth for an agent inside, as text; errors by their names."""
    body = (
        f"facts = {facts!r}\nfound = {{}}\n"
        "for name, expression in facts.items():\n"
        "    try:\n        found[name] = str(eval(expression))\n"
        "    except BaseException as error:\n        found[name] = type(error).__name__\n"
        "raise ValueError(repr(found).encode().hex())"
    )
    envs = gym.make_vec("valuegym/Delivery-v0", num_envs=1)
    observation, _ = envs.reset(seed=0)
    with Remote(agent(answering(body)), gym.make("valuegym/Delivery-v0"), ("x", {}), 0, Limits(processes=4)) as player:
        monkey = pytest.MonkeyPatch()
        with monkey.context() as patch, pytest.raises(AgentFailure) as error:
            patch.setattr(sandbox, "printable", lambda text, room: text)
            player.predict(observation, episode_start=np.ones(1, bool))
    found: dict[str, str] = ast.literal_eval(bytes.fromhex(str(error.value).split()[-1].rstrip(".")).decode())
    return found


@pytest.mark.sandbox
def test_the_agent_is_nobody_and_sees_nobody(agent: Agent, tmp_path: Path) -> None:
    secret = tmp_path / "nonce"
    secret.write_text("secret", encoding="ascii")
    os.chmod(secret, 0o644)
    status = "open('/proc/self/status').read().split()"
    secrets = [str(secret), "/etc/shadow", "/home", str(Path.home() / ".ssh")]
    found = told(
        agent,
        {
            "user": "os.getuid()",
            "groups": "(os.getgid() == os.getuid(), os.getgroups())",
            "capabilities": f"[{status}[{status}.index(f'Cap{{kind}}:') + 1] for kind in ('Prm', 'Eff', 'Bnd', 'Amb')]",
            "new privileges": f"{status}[{status}.index('NoNewPrivs:') + 1]",
            "processes": "[x for x in os.listdir('/proc') if x.isdigit()] == [str(os.getpid())]",
            "secrets": f"[os.path.exists(x) for x in {secrets}]",
            "environment": "sorted(os.environ)",
            "network": "os.listdir('/sys/class/net') if os.path.exists('/sys') else 'none'",
            "scratch": "open('/scratch/x', 'w').write('x')",
            "handles": "len(os.listdir('/proc/self/fd'))",
        },
    )
    assert int(found["user"]) >= 1_900_000_000
    assert found["groups"] == "(True, [])"
    assert found["capabilities"] == str(["0" * 16] * 4) and found["new privileges"] == "1"
    assert found["processes"] == "True" and found["secrets"] == str([False] * 4)
    assert found["network"] == "none" and found["scratch"] == "1"
    assert set(ast.literal_eval(found["environment"])) <= {
        *("PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "PWD", "SHLVL", "_", "OLDPWD"),
        "PYGAME_HIDE_SUPPORT_PROMPT",  # gymnasium's own
        *(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL")),
    }
    assert int(found["handles"]) <= 8  # three standard ones, the pipe's two, the listing's own


@pytest.mark.sandbox
def test_what_an_agent_may_not_do_it_cannot(agent: Agent) -> None:
    attempts = {
        "open('/agent/agent.py', 'a')": "OSError|PermissionError",
        "open('/agent/more', 'w')": "OSError|PermissionError",
        "open('/usr/x', 'w')": "OSError|PermissionError",
        "open('/x', 'w')": "OSError|PermissionError",
        "os.remove('/agent/agent.py')": "OSError|PermissionError",
        "os.chroot('/scratch')": "PermissionError",
        "os.setuid(0)": "PermissionError",
        "os.listdir('/proc/1/root')": "PermissionError|FileNotFoundError",
        "os.kill(1, 9)": "PermissionError|ProcessLookupError",
        "__import__('ctypes').CDLL(None).mount(b'x', b'/scratch', b'tmpfs', 0, None)": "-1",
        "(__import__('ctypes').CDLL(None).unshare(0x10000000), os.setuid(0))": "OSError|PermissionError",
        "__import__('subprocess').run(['su', '-c', 'true'], stderr=-3).returncode != 0": "True|PermissionError",
        "os.mknod('/scratch/d', 0o60600, 0)": "PermissionError",
    }
    found = told(agent, {attempt: attempt for attempt in attempts})
    assert {a: found[a] for a, allowed in attempts.items() if found[a] not in allowed.split("|")} == {}


@pytest.mark.sandbox
def test_an_agent_has_no_network(agent: Agent) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port, hits = listener.getsockname()[1], []
    thread = threading.Thread(target=lambda: hits.append(listener.accept()), daemon=True)
    thread.start()
    found = told(agent, {"connect": f"__import__('socket').create_connection(('127.0.0.1', {port}), 2)"})
    assert found["connect"] in ("OSError", "ConnectionRefusedError", "TimeoutError")
    socket.create_connection(("127.0.0.1", port), 2).close()  # outside there is one
    thread.join(5)
    assert len(hits) == 1
    hits[0][0].close()
    listener.close()


@pytest.mark.sandbox
def test_a_whole_run_is_limited(agent: Agent) -> None:
    with pytest.raises(AgentFailure, match="used more than 2 s"):
        ask(agent(answering("time.sleep(0.3)\nreturn np.zeros(n, int), None")), asks=100, total=2.0)


@pytest.mark.sandbox
def test_a_failed_execution_is_written_down(agent: Agent, tmp_path: Path) -> None:
    folder = agent(answering("return np.full(n, 9), None"))
    board, nonce = tmp_path / "ledger", tmp_path / "nonce"
    operations.begin(board, "test")
    operations.open_period(board, nonce)
    operations.commit(board, "visitor", "me", agent_digest(folder), ["test/walk"])
    card = Card.of(EXAMPLE | {"name": "visitor"})
    judgement, entry = operations.execute(board, 2, folder, card, nonce, tmp_path / "x.zip")
    assert "outside the action space" in judgement.reason and entry.body["reason"] == judgement.reason
    assert not (tmp_path / "x.zip").exists() and list(read_ledger(board).accepted()) == []


@pytest.mark.sandbox
@pytest.mark.parametrize("body", ["time.sleep(60)", "os.setsid()\nwhile True: pass"])
def test_no_process_outlives_the_board(agent: Agent, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user = 1_950_000_000 + os.getpid()  # other tests run at the same time, under users of their own
    monkeypatch.setattr(sandbox, "FIRST_USER", user)
    monkeypatch.setattr(sandbox, "USERS", 1)

    def users() -> set[int]:
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                found.add(path.stat().st_uid)
        return found

    with pytest.raises(AgentFailure):
        ask(agent(answering(body)), answer=1.0)
    until = time.monotonic() + 10  # the kernel takes a moment to bury what was killed
    while user in users() and time.monotonic() < until:
        time.sleep(0.01)
    assert user not in users()


@pytest.mark.sandbox
def test_nothing_is_left_behind(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(folder))
    ask(agent(UNIFORM))
    assert str(folder) not in Path("/proc/mounts").read_text()
    assert not os.listdir(folder)


@pytest.mark.parametrize(("required", "outcome"), [("1", "error"), ("", "skipped")])
def test_a_sandbox_test_that_is_skipped_fails_where_one_is_required(
    required: str, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUEGYM_REQUIRE_SANDBOX", required)
    hooks = (Path(__file__).parents[1] / "conftest.py").read_text(encoding="utf-8")
    without = "\nsandbox.missing = lambda: 'There is no sandbox.'\n"
    (tmp_path / "conftest.py").write_text(hooks + without, encoding="utf-8")
    (tmp_path / "test_one.py").write_text(
        "import pytest\n@pytest.mark.sandbox\ndef test_it():\n    pass\ndef test_other():\n    pass\n", encoding="utf-8"
    )
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *settings, str(tmp_path / "test_one.py")]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert f"1 passed, 1 {outcome}" in found.stdout or f"1 {outcome}, 1 passed" in found.stdout, found.stdout
    assert "There is no sandbox." in found.stdout and found.returncode == (1 if required else 0)
