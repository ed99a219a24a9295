"""Follow: estimate at every step what people value now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys, rollouts
from valuegym.envs.coevolution import dynamics, metrics, networks, population
from valuegym.envs.coevolution import responses as replies
from valuegym.envs.coevolution.responses import Channel
from valuegym.envs.functional import put_rows, take_rows
from valuegym.envs.rendering import coevolution as rendering

__all__ = ["Follow", "State", "Task"]

Array = npt.NDArray[Any]


class Task(NamedTuple):
    """Constants of B episodes.

    Attributes:
        key: (B,).
        path: (B, T+k, D) of the mean, for a forecast of k steps.
        deviations: (B, S, N, D) of people from the mean; S is 1 where they are constant, T where people listen to each
            other.
    """

    key: Array
    path: Array
    deviations: Array


class State(NamedTuple):
    """State of B episodes.

    Attributes:
        t: (B,) steps so far.
        last_message: (B, D) the last action, zeros at the start.
        pending_responses: (B, delay+1, m, D) responses on their way, the oldest first.
    """

    t: Array
    last_message: Array
    pending_responses: Array


class Follow:
    """Follow values that move: estimate what people value at this step from the responses of some of them.

    ## Description
    The mean value of N people in R^D follows a path through time that the AI does not influence; each person deviates
    from it by a constant difference. Nine steps by default, the centuries of ProgressGym, all of them observed. On a
    `network` people also listen to each other, x_i(t+1) = listening sum_j w_ij x_j(t) + (1 - listening) b_i(t+1), where
    b_i is the value that they would hold by themselves and w_ij their attention to each neighbour
    (`dynamics.friedkin_johnsen`): the mean, which is the target, lags behind the path and leans towards those whom many
    listen to. A person without neighbours holds b_i.

    The reset option `opinions`, (N, D) or one for each row of a vector environment, gives everybody's values at the
    first step, from -4 to 4: the path then begins at their mean.

    ## Observation
    A flat Dict. `responses` (m*D,): the responses of m people, either the values that they state or the loadings of the
    item that they choose minus those of the other, clipped to +-4 (`responses.Channel`). `last_message` (D,): the last
    action, zeros at the start. `time` (1,): elapsed share of the episode.

    ## Action
    Box(-1, 1, (D,)): the estimate of the mean, divided by `scale`.

    ## Reward
    -|estimate - mean|^2, with the mean of the step at which the responses were given: scored after adaptation. The
    error on arrival, of the estimate carried over into the next step, is one of the episode metrics.

    ## Episode end
    Terminates after `steps` steps.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `family` | str | "mixed" | | path of the mean: a family, a recorded path or a CSV file (`trajectories.by_name`) |
    | `steps` | int | 9 | | length of an episode |
    | `people` | int | 100 | | N |
    | `dimensions` | int | 5 | | D |
    | `scale` | float | 4.0 | value | estimate of an action of 1 |
    | `cluster_std` | float | 0.3 | value | standard deviation of people around their mean |
    | `responses` | str | "values" | | "values" or "choices" |
    | `budget` | int | 20 | | m, responses per step |
    | `noise` | float | 0.5 | value | standard deviation of a stated value, or temperature of a choice |
    | `strategic` | float | 0.0 | | how far people overstate against the last estimate |
    | `delay` | int | 0 | steps | until a response arrives |
    | `items` | str or None | None | | items of choices: random ones, "moralchoice" or a CSV file (`items.by_name`) |
    | `network` | any | None | | who listens to whom; nobody by default (`networks.by_name`) |
    | `listening` | float | 0.5 | | weight of the neighbours, from 0 to 1 |
    | `data` | str or None | None | | folder of a recorded path or of items |

    Raises:
        ValueError: an argument is outside its range, unknown, or does not match the others.
        FileNotFoundError: a recorded path or the items are missing.

    ## Oracle and naive scores
    0 is persistence, whose estimate is the reading of the last responses; 1 is to know the path. On squared errors the
    normalised return is the skill against persistence (Murphy 1988), with the same responses for both.

    ## Source
    The follow challenge of ProgressGym (Qiu et al. 2024, arXiv:2406.20087), as a population.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2}
    player_view = True  # mode "human" draws what the agent may see
    discount = 1.0
    tolerance = 1e-9
    checkpoint = 1_000  # records hold the first and the last state of nine steps; replays make the others
    horizon = 0  # steps from the responses to the target

    def __init__(
        self,
        family: str = "mixed",
        steps: int = 9,
        people: int = 100,
        dimensions: int = 5,
        scale: float = 4.0,
        cluster_std: float = 0.3,
        responses: str = "values",
        budget: int = 20,
        noise: float = 0.5,
        strategic: float = 0.0,
        delay: int = 0,
        items: str | None = None,
        network: Any = None,
        listening: float = 0.5,
        data: str | None = None,
    ) -> None:
        steps, people, dimensions, scale = population.check_sizes(steps, people, dimensions, scale)
        self.cluster_std = checks.real("cluster_std", cluster_std, 0.0, population.LARGEST)
        self.listening, self.listens = checks.real("listening", listening, 0.0, 1.0), network is not None
        if self.listens:
            population.check_numbers(**{"steps + horizon": steps + self.horizon}, people=people, dimensions=dimensions)
        self.trajectory, self.network, bank, self.hashes = population.sources(
            family, network, items, people, steps + self.horizon, dimensions, data
        )
        self.channel = Channel(responses, budget, noise, strategic, delay, bank)
        self.family, self.steps, self.people, self.dimensions, self.scale = family, steps, people, dimensions, scale
        self.option_shapes = {"opinions": (people, dimensions)}
        if people == 1 or self.cluster_std == 0:
            self._check_references()
        self.observation_space = population.observation_space(self.channel, dimensions, dimensions)
        self.action_space = gym.spaces.Box(-1, 1, (dimensions,), np.float32)

    def _check_references(self) -> None:
        """Refuse tasks of people who agree if persistence reads the target itself.

        Raises:
            ValueError: it does.
        """
        values = getattr(self.trajectory, "values", None)  # of a recorded path
        still = values is not None and bool((values == values[0]).all())
        present = self.horizon == 0 and (self.channel.delay == 0 or self.steps == 1)
        if population.is_exact(self.channel) and (still or present):
            reason = "noise is 0 and everybody has the same opinion"
            raise population.undefined(reason, "pass a noise above 0, or people who differ")

    def initial(self, key: keys.Key, opinions: Array | None = None) -> tuple[Task, State]:
        """Draw a path, and people around it.

        Args:
            key: (B,).
            opinions: (B, N, D) values of everybody at the first step; the path then begins at their mean.

        Raises:
            ValueError: an opinion is no number from -4 to 4, or all agree where no score is defined then.
        """
        B, N, D = len(key), self.people, self.dimensions
        path = self.trajectory.draw(keys.mix(key, keys.RESET, 4), self.steps + self.horizon, D)
        if opinions is None:
            noise = keys.irwin_hall(key[:, None], keys.RESET, 3, np.arange(N * D)).reshape(B, N, D)
            deviations = self.cluster_std * noise
            deviations -= dynamics.mean(deviations)[:, None]
        else:
            opinions = population.opinions_of(opinions, N, D)
            if population.all_agree(opinions).any():
                self._check_references()
            middle = dynamics.mean(opinions)
            path, deviations = middle[:, None] + (path - path[:, :1]), opinions - middle[:, None]
        if not self.listens:
            task = Task(key.copy(), path, deviations[:, None])
        else:
            people = self.listen(path[:, :, None] + deviations[:, None])
            path = dynamics.mean(people, 2)
            task = Task(key.copy(), path, (people - path[:, :, None])[:, : self.steps])
        return task, self.start(task)

    def listen(self, alone: Array) -> Array:
        """Return values (B, T+k, N, D) of people who listen to each other, and would hold `alone` if they did not."""
        network, weight = self.network, np.full(self.people, self.listening)
        if network is not None:
            network, listens = networks.listening(network)
            weight[~listens] = 0.0
        people = alone.copy()
        for t in range(1, people.shape[1]):
            people[:, t] = dynamics.friedkin_johnsen(people[:, t - 1], alone[:, t], weight, network)
        return people

    def start(self, task: Task) -> State:
        """Return the first states, with the responses of step 0."""
        B = len(task.key)
        pending_responses = replies.initial(self.channel, task.key, self.people_at(task, np.zeros(B, np.int64)))
        return State(np.zeros(B, np.int64), np.zeros((B, self.dimensions), np.float32), pending_responses)

    def people_at(self, task: Task, t: Array) -> Array:
        """Return values (B, N, D) of everybody at steps t (B,); those of the last step from then on."""
        row, now = np.arange(len(t)), np.minimum(t, self.steps - 1)
        return task.path[row, now][:, None] + task.deviations[row, np.minimum(now, task.deviations.shape[1] - 1)]

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Move people along the path, and collect their responses."""
        now = np.minimum(state.t + 1, self.steps)
        message = self.scale * action.astype(np.float64)
        pending_responses = replies.advance(
            self.channel, state.pending_responses, key, t + 1, self.people_at(task, now), message
        )
        after = State(now, action.astype(np.float32), pending_responses)
        over = self.terminal(task, state)
        if over.any():
            put_rows(after, over, take_rows(state, over))
        return after

    def truth(self, task: Task, state: State) -> Array:
        """Return the target of the estimate (B, D): the mean `horizon` steps ahead."""
        return task.path[np.arange(len(state.t)), np.minimum(state.t, self.steps - 1) + self.horizon]

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return minus the squared error of the estimate (B,)."""
        error = metrics.distance(self.scale * action.astype(np.float64), self.truth(task, state)) ** 2
        return np.where(self.terminal(task, state), 0.0, -error)

    def terminal(self, task: Task, state: State) -> Array:
        """Tell which episodes have had their last step (B,)."""
        return state.t >= self.steps

    def observation(self, task: Task, state: State) -> dict[str, Array]:
        """Return responses, the last action, and the time (`population.observation`)."""
        return population.observation(state, self.steps)

    def action(self, estimate: Array) -> Array:
        """Return the action (B, D) that states an estimate (B, D), clipped to the action space."""
        return np.clip(estimate / self.scale, -1.0, 1.0).astype(np.float32)

    def persistence(self, task: Task, state: State) -> Array:
        """Return the action of persistence: the reading of the last responses."""
        return self.action(self.channel.estimate(state.pending_responses[:, 0]))

    def references(self, task: Task) -> tuple[Array, Array]:
        """Episode returns (B,) of persistence, and of knowing the path, which needs no responses."""
        state, best = self.start(task), np.zeros(len(task.key))
        for _ in range(self.steps):
            best += self.reward(task, state, self.oracle_action(task, state), state)
            state = state._replace(t=state.t + 1)
        return rollouts.play(self, task, self.persistence, keep=False).returns, best

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return the action that states the target."""
        return self.action(self.truth(task, state))

    def episode_metrics(self, task: Task, states: Sequence[State], actions: Sequence[Array]) -> dict[str, Array]:
        """Return metrics of whole episodes, each (B,), from states at steps 0 .. T and the T actions."""
        estimates = self.scale * np.stack(actions, 1).astype(np.float64)
        truth = np.stack([self.truth(task, state) for state in states[:-1]], 1)
        persistence = self.scale * np.stack([self.persistence(task, state) for state in states[:-1]], 1)
        shared = metrics.of_estimates(estimates, persistence, truth, task.path[:, : self.steps], self.horizon > 0)
        return shared | {"centred_skill": metrics.centred_skill(estimates, truth)}

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw the responses in their first two dimensions, and their histograms; a player does not see the target."""
        now, shown = states[-1], population.DRAWN
        crowds = [rendering.Crowd("responses", now.pending_responses[0, 0, :shown], "dot")]
        former = [state.pending_responses[0, 0, :shown] for state in states[:-1]]
        if former:
            crowds.insert(0, rendering.Crowd("responses of the steps before", np.concatenate(former), "former"))
        when = f"in {self.horizon} step{'s' * (self.horizon > 1)}" if self.horizon else "now"
        statements = []
        if now.t[0]:
            estimate = self.scale * now.last_message[0].astype(np.float64)
            statements.append(rendering.Statement("last estimate of the agent", estimate, "estimate"))
        if mode == "rgb_array" and now.t[0] < self.steps:
            statements.append(
                rendering.Statement(f"mean of all people {when} (hidden)", self.truth(task, now)[0], "truth")
            )
        caption = f"step {int(now.t[0])} of {self.steps}: what do people value {when}?"
        reach = 4.0 if self.channel.kind == "choices" else 2.0
        return rendering.population(mode, crowds, statements, caption, reach)
