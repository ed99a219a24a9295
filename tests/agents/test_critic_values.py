"""Values of trained critics: what they are the best of, their files, and which files are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents import tensors
from valuegym.agents.control.actor_critic import Optimisation, SoftActorCritic
from valuegym.agents.control.critic_values import CriticValues, encode, load
from valuegym.agents.control.critics import CriticParameters
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.utilities import EndState, Regret


def critic(A: int = 1, bins: int = 0, limit: float = 2.0) -> CriticValues:
    parameters = CriticParameters(width=8, bins=bins, low=-10.0, high=1.0)
    learner = SoftActorCritic(3, A, parameters, Optimisation(discount=0.95), torch.Generator().manual_seed(1))
    return CriticValues(learner, np.full(A, -limit), np.full(A, limit))


def inputs(n: int = 40, A: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3)), rng.uniform(-2, 2, (n, A))


@pytest.mark.parametrize("A", [1, 2, 5])
@pytest.mark.parametrize("bins", [0, 21])
def test_no_advantage_is_above_zero_and_that_of_the_actor_counts(A: int, bins: int) -> None:
    values = critic(A, bins)
    seen, actions = inputs(A=A)
    V, Q = values.value(seen), values.action_value(seen, actions)
    assert (Q <= V).all() and (Q < V).any()
    with torch.no_grad():
        mode = values.learner.mode(torch.as_tensor(seen).float())
        least = values.learner.critics(torch.as_tensor(seen).float(), mode).amin(-1).double().numpy()
    assert (V >= least).all()
    if A == 1:  # the best of the lattice has no regret
        line = np.linspace(-2, 2, 21)
        found = np.stack([values.action_value(seen, np.full((40, 1), u)) for u in line])
        assert (found.max(0) == V).mean() > 0.8
    if A == 5:
        np.testing.assert_array_equal(V, least)


def test_actions_are_in_the_units_of_the_environment_and_clipped() -> None:
    one, two = critic(limit=1.0), critic(limit=2.0)
    seen, actions = inputs()
    np.testing.assert_allclose(one.action_value(seen, actions / 2), two.action_value(seen, actions), rtol=1e-6)
    np.testing.assert_array_equal(two.action_value(seen, actions + 99), two.action_value(seen, np.full((40, 1), 2.0)))


def test_an_annotator_takes_them() -> None:
    rng, values = np.random.default_rng(2), critic()
    segments = Segments(rng.normal(size=(6, 4, 3)), rng.uniform(-2, 2, (6, 3, 1)))
    assert (Regret(values, values.discount)(segments) <= 0).all()
    np.testing.assert_allclose(EndState(values)(segments), values.value(segments.observations[:, -1]))


@pytest.mark.parametrize("bins", [0, 21])
def test_a_file_gives_the_same_bits(tmp_path: Path, bins: int) -> None:
    values = critic(2, bins)
    content, digest = encode(values, env="a task", seed=3)
    assert encode(values, env="a task", seed=3) == (content, digest)
    (tmp_path / "critic.safetensors").write_bytes(content)
    before = torch.random.get_rng_state()
    found = load(tmp_path / "critic.safetensors", digest)
    assert torch.equal(before, torch.random.get_rng_state())
    seen, actions = inputs(A=2)
    np.testing.assert_array_equal(found.value(seen), values.value(seen))
    np.testing.assert_array_equal(found.action_value(seen, actions), values.action_value(seen, actions))
    assert found.discount == 0.95 and found.temperature == pytest.approx(values.temperature)
    told = json.loads(tensors.decode(content)[1]["valuegym.critic"])
    assert told["about"] == {"env": "a task", "seed": 3}


def planted(change: Any) -> bytes:
    """Return the file of a critic, with something changed in what it says and holds."""
    arrays, metadata = tensors.decode(encode(critic())[0])
    told = json.loads(metadata["valuegym.critic"])
    change(arrays, told)
    return tensors.encode(arrays, {"valuegym.critic": json.dumps(told)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04pickle", "holds no critics"),
        (tensors.encode({}, {}), "holds no critics"),
        (planted(lambda arrays, told: told.update(format=2)), "has format 2; this version"),
        (planted(lambda arrays, told: told.update(D=-1)), "D is -1"),
        (planted(lambda arrays, told: told["critic"].update(width=9)), "size mismatch"),
        (planted(lambda arrays, told: told["critic"].update(code="x")), "code"),
        (planted(lambda arrays, told: told.update(temperature=0)), "temperature is 0"),
        (planted(lambda arrays, told: told.update(low=[3.0])), "expected numbers below high"),
        (planted(lambda arrays, told: arrays.pop("actor.output.bias")), "Missing key"),
        (planted(lambda arrays, told: arrays["actor.output.bias"].fill(np.nan)), "nan; expected finite numbers"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "critic.safetensors"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(file, hashlib.sha256(content).hexdigest())


def test_a_file_with_another_hash_is_not_read(tmp_path: Path) -> None:
    content, digest = encode(critic())
    file = tmp_path / "critic.safetensors"
    file.write_bytes(content[:-4] + b"abcd")
    with pytest.raises(ValueError, match=f"not {digest}; it is another file"):
        load(file, digest)
    with pytest.raises(ValueError, match="There is no file"):
        load(tmp_path / "other", digest)
    file.write_bytes(content)
    assert load(file, digest.upper()).discount == 0.95
    with pytest.raises(ValueError, match="sha256 is None"):
        load(file, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: critic().value(np.zeros((2, 4))), "observations has shape"),
        (lambda: critic().action_value(np.zeros((2, 3)), np.zeros((3, 1))), "actions has shape"),
        (lambda: critic().action_value(np.full((1, 3), np.inf), np.zeros((1, 1))), "observations"),
        (lambda: critic(limit=-1.0), "low is"),
        (lambda: encode(critic(), seed={1, 2}), "cannot be written as JSON"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
