"""The identifiability probes as a query environment: infer which of two tasks it is, and act accordingly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from valuegym.envs import checks, keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import annotators, models, probes, query, tabular_query
from valuegym.envs.preference.own_annotators import OwnAnnotator, resolve
from valuegym.envs.preference.query import LOWEST, QueryCore, State
from valuegym.envs.preference.segments import Array, Segment
from valuegym.envs.rendering import probes as rendering

__all__ = ["ProbeInference", "ProbeSource", "State", "Task"]


class Task(NamedTuple):
    """key (B,) of the episode, and which of the paired tasks (B,) it is, 0 or 1."""

    key: Array
    paired_task: Array


class ProbeSource:
    """A source (`query.Source`) of the two paired tasks of a probe, with pairs drawn evenly from random play.

    Args:
        probe: the two tasks.
        annotator: who answers.
        policy: whether estimates are tables of preferences over actions rather than reward weights.
    """

    discount = 1.0  # of the scores; that of the tasks is the probe's
    random = False
    available: int | None = None
    hashes: tuple[str, ...] = ()

    def __init__(
        self, probe: probes.Probe, annotator: annotators.Simulated | OwnAnnotator, policy: bool | None
    ) -> None:
        self.probe, self.annotator, self.policy = probe, annotator, policy
        self.segments, self.chance = probe.segments()
        self.mdps = [probe.process(index) for index in range(2)]
        self.rewards = [tabular.reward(mdp, w[None]) for mdp, w in zip(self.mdps, probe.weights, strict=True)]
        solved = [probe.solved(index) for index in range(2)]
        self.solved = models.SolvedReward(*(np.concatenate(field) for field in zip(*solved, strict=True)))
        if isinstance(annotator, OwnAnnotator):
            self.hashes = annotator.hashes
        else:
            self.utility = np.concatenate(
                [
                    annotator.statistic.utility(reward, self.segments, mdp.discount)
                    for reward, mdp in zip(solved, self.mdps, strict=True)
                ]
            )
        self.tables = np.concatenate([tabular.advantages(s.values, s.action_values) for s in solved])
        mdp = self.mdps[0]
        assert mdp.next_state is not None  # chance decides what is earned, not where it leads
        self.process = (mdp.next_state, mdp.features, mdp.terminal, mdp.start)
        self.shown_discount = 0.0 if len(set(probe.discounts)) > 1 else mdp.discount
        S, A, d = self.shape = mdp.features.shape[1:]
        self.spaces = tabular_query.process_spaces(self.shape)
        self.action_space: gym.spaces.Box = gym.spaces.Box(-1, 1, (S * A if policy else d,), np.float32)

    def pair_spaces(self, name: str, n: int) -> dict[str, gym.Space[Any]]:
        """Return the spaces of n pairs."""
        return tabular_query.segment_spaces(name, n, self.shape, self.probe.length)

    def draw(self, key: keys.Key) -> Task:
        """Draw one of the paired tasks for each key, with equal chances."""
        return Task(key.copy(), keys.integers(key, 2, keys.RESET, 0))

    def pool(self, task: Task, number: Array, n: int) -> tuple[Segment, Array]:
        """Return n candidates (B, n, 2, ...) for pair `number` (B,), from 1, and their answers (B, n)."""
        key = query.candidate_keys(task.key, number, n)
        nth = keys.choice(keys.mix(key[..., None], np.arange(2)), self.chance)
        pair = Segment(*(field[0, nth] for field in self.segments))
        if isinstance(self.annotator, OwnAnnotator):
            solved = models.SolvedReward(*(field[task.paired_task] for field in self.solved))
            reward = (pair.features * solved.weights[:, None, None, None]).sum(-1)
            terminal = np.repeat(self.process[2], len(key), 0)
            discount = np.array(self.probe.discounts)[task.paired_task]
            return pair, self.annotator.codes(key, tabular_query.sides(solved, terminal, pair, reward, discount))
        utility = self.utility[task.paired_task[:, None, None], nth]
        label = self.annotator.choice.label(utility[..., 1] - utility[..., 0], keys.uniform(key, 2))
        return pair, annotators.answer_codes(label)

    def observation(self, task: Task) -> dict[str, Array]:
        """Return the process that both tasks share."""
        next_state, features, terminal, start = (np.repeat(field, len(task.key), 0) for field in self.process)
        return tabular_query.flat_process(next_state, features, terminal, start, self.shown_discount)

    def flat(self, name: str, task: Task, pairs: Segment) -> dict[str, Array]:
        """Return pairs (B, ...), flattened, under a name."""
        return tabular_query.flat_segments(name, pairs)

    def score(self, task: Task, estimate: Array) -> Array:
        """Return the normalised mean return (B,) of tables (B, S*A), or weights (B, d); clipped to -1 from below."""
        scores = np.zeros(len(estimate))
        for index, (mdp, reward) in enumerate(zip(self.mdps, self.rewards, strict=True)):
            rows = np.flatnonzero(task.paired_task == index)
            part = estimate[rows].astype(np.float64)
            policy = tabular_query.policy_of(mdp, part[:, None], bool(self.policy))
            true = np.broadcast_to(reward, (len(rows), *reward.shape))
            scores[rows] = tabular.normalised_return(mdp, true, policy)[:, 0]
        return np.maximum(scores, LOWEST)

    def oracle(self, task: Task) -> Array:
        """Return the optimal advantages, or the true weights, scaled into the action space."""
        table = self.tables.reshape(2, -1) if self.policy else self.probe.weights
        return tabular_query.unit_scale(table[task.paired_task])

    def render(self, mode: str, task: Task, pair: Segment, number: int, answer: int) -> Any:
        """Draw one segment above the other, with the answer."""
        caption = query.caption(number, answer)
        paths = [self._path(Segment(*(field[0, i] for field in pair))) for i in range(2)]
        if mode == "rgb_array":
            return rendering.paths(paths, self.probe.length, caption, answer)
        lines = [
            f"{name:>6}: "
            + " ".join(f"({step.state}) --{step.action}, {step.outcomes[step.came][0]}-->" for step in path[:-1])
            + f" ({path[-1].state})"
            for name, path in zip(("first", "second"), paths, strict=True)
        ]
        return "\n".join((*lines, caption))

    def _path(self, segment: Segment) -> list[rendering.Step]:
        """Return state, action and outcomes of every step, and the last state."""
        steps = []
        for t in range(int(segment.mask.sum())):
            at = 0, segment.states[t], segment.actions[t]
            chance, features = self.probe.outcomes.chance[at], self.probe.outcomes.features[at]
            there = np.flatnonzero(chance > 0)
            came = [k for k, which in enumerate(there) if (features[which] == segment.features[t]).all()]
            outcomes = [(self._earned(features[which]), float(chance[which])) for which in there]
            steps.append(rendering.Step(int(at[1]), self.probe.actions[at[2]], outcomes, came[0] if came else 0))
        return [*steps, rendering.Step(int(segment.states[len(steps)]), "", (), 0)]

    def _earned(self, features: Array) -> str:
        """Return the names of the features that are there."""
        return "+".join(name for name, x in zip(self.probe.features, features, strict=True) if x) or "nothing"


class ProbeInference(QueryCore):
    """Learn from preferences what to do in one of two tasks that partial return cannot distinguish.

    ## Description
    Every episode is one of the two paired tasks of a probe, with equal chances. They share all that is observed, and no
    policy is optimal in both. Where the annotator compares partial returns, an episode's observations would have been
    the same in the other task (for the lottery: without noise), so that no learner whatever is right in both; where it
    compares regrets, the answers reveal it (Knox et al. 2024).

    ## Observation
    A flat Dict as in `RewardInference-v0` without `board`; `features` are expected ones, segments hold what came true.
    `discount` is 0, hidden, where it is what the paired tasks differ in. Pairs are drawn evenly from random play.

    ## Action
    `action="policy"`: Box(-1, 1, (S*A,)), a table of preferences over actions, used greedily. `"weights"`: Box(-1, 1,
    (d,)), the estimated reward weights, where the discount is known. Only actions at evaluation points count.

    ## Reward
    0 until the end, then the mean score over all evaluation points.

    ## Episode end
    Terminates with the action at the last evaluation point.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `probe` | str | "lottery" | | the pair of tasks: "lottery", "variable-horizon" or "single-step" |
    | `annotator` | str or function | "regret-noiseless" | | who answers: `own_annotators.resolve` |
    | `evaluation_points` | ints | (10, 100) | pairs | when an estimate is scored; increasing, 0 allowed |
    | `action` | str | "policy" | | "policy", or "weights" where the discount is known |

    Raises:
        ValueError: an argument is not as stated.

    ## Oracle and naive scores
    An estimate is scored by the mean return of its policy in the task at hand (near-ties within 1e-6 of the scale
    share): 0 for uniformly random actions, 1 for an optimal policy, both exact; clipped to -1 from below.

    ## Source
    The three contexts in which Knox et al. (2024), TMLR, show partial return not to be identifiable.

    ## Version history
    v0: first version.
    """

    checkpoint = 1  # a record holds every state

    def __init__(
        self,
        probe: str = "lottery",
        annotator: Any = "regret-noiseless",
        evaluation_points: Sequence[int] = (10, 100),
        action: str = "policy",
    ) -> None:
        tasks, who = probes.by_name(probe), resolve(annotator)
        hidden = len(set(tasks.discounts)) > 1
        checks.choice("action", action, ("policy",) if hidden else ("policy", "weights"))
        super().__init__(ProbeSource(tasks, who, action == "policy"), evaluation_points)
