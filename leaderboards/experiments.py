"""Experiments: named, immutable data that says what is played, how often, and how it is scored."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

import valuegym.envs  # noqa: F401 - registers the ids
from valuegym.envs import checks, plugins
from valuegym.envs.functional import load as load_core
from valuegym.envs.preference import datasets, delivery
from valuegym.envs.registration import has_core

__all__ = [
    "EVALUATION",
    "EXPERIMENTS",
    "GROUP",
    "NAME_IT",
    "SUITE",
    "Experiment",
    "find",
    "in_workers",
    "load",
    "loaded",
    "register",
    "resolve",
]

GROUP = "valuegym.experiments"

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}/[a-z0-9][a-z0-9-]{0,59}")  # what a submission can hold

EVALUATION = 1_000_000  # evaluation episodes are seeded from here on; training uses the run's own small seed


@dataclass(frozen=True)
class Experiment:
    """One experiment: an environment, a budget, seeds and a score.

    Attributes:
        id: name, "family/track".
        about: one sentence for people.
        env_id: registered environment.
        arguments: keyword arguments of the environment, as JSON.
        agents: the agents that belong on the track by default.
        timesteps: training budget, 0 for agents that learn while they act.
        episodes: evaluation episodes per seed.
        seeds: of the runs that a complete score needs.
        score: "return" (normalised discounted return) or "evaluation_points" (the scores a query environment gives
            there).
        options: name of a reset option and its value in each episode.
        ranked: False for open-book reference tracks, whose answer is public.
        data: the dataset that it needs, "" for none.
        tags: for selection.
        references: returns of the naive reference and of the oracle, 0 and 1 of the score, as the author declares them;
            None for those that the environment's core computes.
        units: what tests of ranks take as independent repetitions: "tasks" (episodes, where nothing is trained for a
            seed), "seeds", or "" for seeds where there is a training budget and tasks elsewhere. The ranked number is
            `ranked_number`.
        deterministic: for an environment without a core, whether seed and actions determine what it does, so that its
            records can be replayed; the rewards of others are claims.
    """

    id: str
    about: str
    env_id: str
    arguments: str = "{}"
    agents: tuple[str, ...] = ("uniform",)
    timesteps: int = 0
    episodes: int = 10
    seeds: tuple[int, ...] = (0, 1, 2)
    score: str = "return"
    options: tuple[str, tuple[int, ...]] | None = None
    ranked: bool = True
    data: str = ""
    tags: tuple[str, ...] = ()
    references: tuple[float, float] | None = None
    deterministic: bool = False
    units: str = ""

    @property
    def rank_units(self) -> str:
        """Independent repetitions in tests of ranks, "tasks" or "seeds"."""
        return self.units or ("seeds" if self.timesteps else "tasks")

    @property
    def ranked_number(self) -> str:
        """The number that agents are ranked by, in words: `leaderboards.stats.summary` computes it."""
        points = self.kwargs.get("evaluation_points", ()) if self.score == "evaluation_points" else ()
        over = f", over all evaluation points ({', '.join(map(str, points))})" if points else ""
        return f"mean score{over}, scores below -1 counting as -1"

    @property
    def simulated(self) -> bool:
        """True for an environment without a core."""
        return not has_core(self.env_id)

    @property
    def replayable(self) -> bool:
        """True where a record can be replayed; where it cannot, its rewards are claims."""
        return self.deterministic or not self.simulated

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the environment."""
        kwargs: dict[str, Any] = json.loads(self.arguments)
        return kwargs

    def make_kwargs(self, data: str | None = None) -> dict[str, Any]:
        """Return `kwargs` with the folder of the dataset, where one is needed; records never hold the folder."""
        return self.kwargs | ({"data": data} if self.data else {})

    def reset_options(self) -> list[dict[str, Any]]:
        """Return the reset options of each episode."""
        if self.options is None:
            return [{} for _ in range(self.episodes)]
        return [{self.options[0]: value} for value in self.options[1]]

    def evaluation_seeds(self, seed: int) -> list[int]:
        """Return the seeds of the evaluation episodes of one run, disjoint between runs and from training."""
        return [EVALUATION + 1000 * seed + episode for episode in range(self.episodes)]

    def spec(self) -> dict[str, Any]:
        """Return what a record says of the environment: its id, the arguments given to `gym.make`, its step limit.

        A record's is compared with this one and never constructed. No module is named, so that files may move.
        """
        limit = gym.spec(self.env_id).max_episode_steps
        return {"id": self.env_id, "kwargs": self.kwargs, "max_episode_steps": limit}


LEARNERS = (
    "uniform",
    "constant",
    "partial_return",
    "regret",
    "regret_library",
    "bayes_partial_return",
    "bayes_regret",
    "bayes_mixture",
    "oracle",
)
EVALUATION_POINTS = (0, 10, 100, 1000)
RANKED = ("regret", "regret-noiseless", "partial-return", "partial-return-noiseless")  # annotators of ranked tracks
_OPEN = tuple(i for i, code in enumerate(np.ravel(delivery.BOARD)) if code % delivery.BRICK not in delivery.CLOSED)

DELIVERY = Experiment(
    id="preference/delivery",
    about="Reinforcement learning with the true reward; every open cell of the published board is a start once.",
    env_id="valuegym/Delivery-v0",
    arguments='{"observation": "onehot"}',
    agents=("uniform", "constant", "ppo", "oracle"),
    timesteps=100_000,
    episodes=len(_OPEN),
    seeds=tuple(range(5)),
    score="return",
    options=("cell", _OPEN),
    tags=("preference", "control"),
)


def _inference(id: str, about: str, annotator: str, tag: str, episodes: int = 10, **kwargs: Any) -> Experiment:
    """Return a track of reward inference; only random boards are ranked, for the published one is an open book."""
    return Experiment(
        id=f"preference/{id}",
        about=about,
        env_id="valuegym/RewardInference-v0",
        arguments=json.dumps({"annotator": annotator, "evaluation_points": EVALUATION_POINTS, **kwargs}),
        agents=LEARNERS if tag == "random" else (*LEARNERS[:-1], "goal_only", "oracle"),
        timesteps=0,
        episodes=episodes,
        seeds=tuple(range(10)),
        score="evaluation_points",
        ranked=tag == "random",
        data=datasets.NAME if tag == "human" else "",
        tags=("preference", tag),
    )


_BOARDS = [
    _inference(f"boards-{name}", f"Random boards; answers by {name.replace('-', ' ')}.", name, "random")
    for name in RANKED
]
# Few answers, where learners differ: the points were chosen on the split dev (studies/preference/evaluation_points.py).
_EARLY = [
    replace(
        _inference(f"early-{name}", f"Random boards, few answers by {name.replace('-', ' ')}.", name, "random"),
        arguments=json.dumps({"annotator": name, "evaluation_points": (1, 3, 10, 30, 100, 300)}),
    )
    for name in ("regret", "partial-return")
]
# Tables over states and actions: on small boards, where preferences can visit every action often enough.
_POLICY = [
    replace(
        _inference(
            f"policy-{name}", f"A policy, on random 6x6 boards; answers by {name.replace('-', ' ')}.", name, "random", 5
        ),  # five tables of 144 numbers at each of 3,000 steps are as much as a record may hold
        env_id="valuegym/RewardInferencePolicy-v0",
        arguments=json.dumps({"annotator": name, "evaluation_points": (0, 100, 300, 1000, 3000), "size": (6, 6)}),
        agents=("optimal_advantage", "cpl", "oracle"),
    )
    for name in ("regret", "regret-noiseless")
]
_ASKING = replace(
    _inference("asking-regret", "Random boards; the agent asks, answers by regret.", "regret", "random"),
    env_id="valuegym/RewardInferenceActive-v0",
    arguments=json.dumps({"annotator": "regret", "evaluation_points": (0, 1, 3, 10, 30)}),
    agents=(
        "uniform",
        "constant",
        "random_bayes_regret",
        "active_bayes_regret",
        "value_bayes_regret",
        "random_bayes_mixture",
        "value_bayes_mixture",
        "oracle",
    ),
)
_PUBLISHED = [
    _inference(f"published-{name}", f"The published board; answers by {name}.", name, "published", board="published")
    for name in ("regret", "partial-return")
]
_HUMAN = [
    _inference(
        f"human-{name.lower()}", f"The published board; people's answers, {name}.", f"human:{name}", "human", episodes=1
    )
    for name in datasets.CONDITIONS
]
# People's answers under labels redrawn in each episode, so that no constant is good; answers run out at about 430 in
# the small conditions. Twenty answer sets, of which the shares above the line `goal_only` are taken.
_RELABELLED = [
    replace(
        track,
        id=track.id.replace("human-", f"{name}-"),
        about=f"{where}, labels redrawn; people's answers, {track.about.rpartition(', ')[2]}",
        arguments=json.dumps(track.kwargs | {"evaluation_points": (10, 35, 89), "relabel": True, **more}),
        episodes=2,
        agents=tuple(agent for agent in track.agents if agent != "regret_library"),
    )
    for track in _HUMAN
    for name, where, more in (
        ("relabelled", "The published board", {}),
        ("unseen", "Maps that nobody was asked about", {"unseen": 4}),
    )
]


def _control(
    id: str,
    about: str,
    env: str,
    timesteps: int,
    *tags: str,
    agents: tuple[str, ...] = (),
    options: tuple[str, tuple[int, ...]] | None = None,
    seeds: int = 10,
) -> Experiment:
    """Return a control task: learn within a budget, then play 20 episodes; `agents` come besides those of all tasks."""
    return Experiment(
        id=f"control/{id}",
        about=about,
        env_id=f"valuegym/{env}-v0",
        arguments="{}",
        agents=("uniform", "constant", *agents, "ppo", "oracle"),
        timesteps=timesteps,
        episodes=20,
        seeds=tuple(range(seeds)),
        score="return",
        options=options,
        tags=("control", *tags),
    )


_REST = ("velocity", (0,) * 20)
_SWING_UP = ("sac", "mbpo", "vagram", "mpc")  # minutes for each seed, so that there are five
_CONTROL = [
    _control(
        "lqr", "The linear quadratic regulator, from rest.", "LQR", 2_000, agents=("lqr_model_based",), options=_REST
    ),
    _control(
        "lqr-d4",
        "The same among four distracting dimensions.",
        "LQR-D4",
        2_000,
        "distractors",
        agents=("lqr_model_based",),
        options=_REST,
    ),
    _control("pendulum", "Swing up a pendulum.", "Pendulum", 5_000, agents=_SWING_UP, seeds=5),
    _control(
        "pendulum-d8",
        "The pendulum among eight turning dimensions.",
        "Pendulum-D8",
        5_000,
        "distractors",
        agents=_SWING_UP,
        seeds=5,
    ),
    _control(
        "mountain-car", "Leave a valley with a weak engine.", "MountainCarContinuous", 20_000, agents=("linear_search",)
    ),
    _control(
        "cartpole-swingup", "Swing up a pole on a cart; score 1 is a reference.", "CartPoleSwingUp", 10_000, "reference"
    ),
    _control(
        "cartpole-swingup-d8",
        "The same among eight turning dimensions; score 1 is a reference.",
        "CartPoleSwingUp-D8",
        10_000,
        "reference",
        "distractors",
    ),
    _control(
        "acrobot",
        "Raise a two-link robot; score 1 is a reference.",
        "Acrobot",
        20_000,
        "reference",
        agents=("linear_search",),
    ),
]
# The same tasks against better references, from plans. The tracks above keep theirs, so that old records verify.
_CONTROL += [
    replace(
        track,
        id=f"{track.id}-planned",
        about=f"{track.about.partition(';')[0]}; score 1 is a plan from the very start.",
        arguments='{"reference": "plan"}',
    )
    for track in _CONTROL
    if "reference" in track.tags
]
_PREFERENCES = [
    Experiment(
        id=f"control/{id}",
        about=about,
        env_id="valuegym/LQRFromPreferences-v0",
        arguments=json.dumps({"annotator": annotator, "evaluation_points": (0, 10, 30, 100, 300), "rotated": rotated}),
        agents=(
            "uniform",
            "no_force",
            "constant",
            "lqr_regret",
            "lqr_partial_return",
            "lqr_regret_mse",
            "lqr_regret_diagonal",
            "lqr_regret_full",
            "oracle",
        ),
        timesteps=0,
        episodes=5,
        seeds=tuple(range(10)),
        score="evaluation_points",
        tags=("control", "preference", "random"),
    )
    for id, about, annotator, rotated in (
        ("lqr-preferences", "A regulator known from preferences, answered by regret.", "regret", False),
        ("lqr-preferences-rotated", "The same, its observation turned.", "regret", True),
        ("lqr-preferences-partial-return", "The same, answered by partial return.", "partial-return", False),
    )
]


def _feedback(
    id: str,
    about: str,
    env: str,
    timesteps: int,
    agents: tuple[str, ...],
    references: tuple[float, float] | None = None,
) -> Experiment:
    """Return a task for agents that learn its reward from answers, and for some that see the reward."""
    return Experiment(
        id=f"feedback/{id}",
        about=about,
        env_id=env,
        arguments="{}",
        agents=("uniform", *(() if references else ("constant",)), *agents),
        timesteps=timesteps,
        episodes=20,
        seeds=tuple(range(5)),
        score="return",
        tags=("feedback", "control"),
        references=references,
        deterministic=references is not None,
    )


_FEEDBACK = [
    _feedback(
        "cartpole",
        "Keep a pole upright for 500 steps, where a fallen one earns nothing more; its reward is known by answers.",
        "CartPole-v1",
        20_480,
        ("preference_ppo", "ppo"),
        (22.3, 500.0),  # uniformly random actions over 20,000 episodes, and the limit
    ),
    _feedback(
        "pendulum",
        "Swing up a pendulum; its reward is known by answers.",
        "valuegym/Pendulum-v0",
        5_000,
        ("preference_sac", "sac", "oracle"),
    ),
    _feedback(
        "mountain-car",
        "Leave a valley with a weak engine; the reward is known by answers.",
        "valuegym/MountainCarContinuous-v0",
        20_000,
        ("preference_sac", "sac", "oracle"),
    ),
    replace(
        _feedback(
            "delivery",
            "Deliver on the published board from each of its open cells; the reward is known by answers.",
            "valuegym/Delivery-v0",
            100_000,
            ("preference_ppo", "ppo", "oracle"),
        ),
        arguments=DELIVERY.arguments,
        episodes=DELIVERY.episodes,
        options=DELIVERY.options,
    ),
]
LOCK_IN = Experiment(
    id="coevolution/lock-in",
    about="Help a hundred people to learn a truth together for a thousand steps, without locking them in.",
    env_id="valuegym/LockIn-v0",
    arguments="{}",
    agents=("uniform", "constant", "no_trust", "full_trust", "threshold_trust", "echo_free", "oracle"),
    timesteps=0,
    episodes=5,
    seeds=tuple(range(5)),
    score="return",
    tags=("coevolution",),
)
FOLLOWERS = (
    "constant",
    "persistence",
    "frozen",
    "lifelong",
    "lifelong_independent",
    "extrapolative",
    "extrapolative_2",
    "extrapolative_shrunk",
    "moving_average",
    "kalman",
    "theta",
    "oracle",
)


def _values(id: str, about: str, env: str, agents: tuple[str, ...] = FOLLOWERS, **kwargs: Any) -> Experiment:
    """Return a track of values that move; score 0 is persistence."""
    return Experiment(
        id=f"coevolution/{id}",
        about=about,
        env_id=f"valuegym/{env}-v0",
        arguments=json.dumps(kwargs),
        agents=agents,
        timesteps=0,
        episodes=20,
        seeds=tuple(range(10)),
        score="return",
        tags=("coevolution", id.partition("-")[0]),
    )


_FAMILIES = ("linear", "logistic", "random-walk", "ornstein-uhlenbeck", "regime-switch", "population")
_COEVOLVERS = (*FOLLOWERS[:-1], "silent", "pluralist", "oracle")
_VALUES = [
    *(_values(f"follow-{name}", f"Follow values that move ({name}).", "Follow", family=name) for name in _FAMILIES),
    *(
        _values(f"predict-{name}", f"Predict the values of the next step ({name}).", "Predict", family=name)
        for name in _FAMILIES
    ),
    replace(
        _values(
            "follow-few-responses",
            "Follow one value that reverts to a mean, from three noisy responses a step.",
            "Follow",
            ("constant", "persistence", "moving_average", "kalman", "ppo", "oracle"),
            family="ornstein-uhlenbeck",
            dimensions=1,
            budget=3,
            noise=1.0,
        ),
        timesteps=20_000,
        seeds=tuple(range(5)),
    ),
    _values(
        "coevolve-mixed", "Serve people in one to three clusters, and leave them different.", "Coevolve", _COEVOLVERS
    ),
    _values("coevolve-one-cluster", "The same with a single cluster.", "Coevolve", _COEVOLVERS, clusters=(1,)),
    _values(
        "coevolve-choices", "The same, told by choices between items.", "Coevolve", _COEVOLVERS, responses="choices"
    ),
    _values(
        "coevolve-small-world",
        "The same among people who meet the friends of a small world only.",
        "Coevolve",
        _COEVOLVERS,
        network={"name": "watts-strogatz", "neighbours": 6, "rewire": 0.1, "seed": 0},
    ),
    _values(
        "follow-hubs",
        "Follow the mean of people who listen to each other on a network with hubs (mixed paths).",
        "Follow",
        network={"name": "barabasi-albert", "ties": 3, "seed": 0},
    ),
]
TOKENS = Experiment(
    id="language/token-process",
    about="Write five tokens, each judged by all before it; every prompt once.",
    env_id="valuegym/TokenProcess-v0",
    arguments="{}",
    agents=("uniform", "constant", "ppo", "oracle"),
    timesteps=20_000,
    episodes=4,
    seeds=tuple(range(5)),
    score="return",
    options=("prompt", (0, 1, 2, 3)),
    tags=("language",),
)
LANGUAGE_MODELS = (
    "frozen_sft",
    "lifelong_sft",
    "lifelong_dpo",
    "lifelong_dpo_independent",
    "extrapolative_dpo",
    "lifelong_rlhf",
    "lifelong_rlhf_independent",
)
_PEOPLE = [
    Experiment(
        id=f"language/{challenge.lower()}-people",
        about=f"{challenge} people that are language models, through nine centuries of six histories.",
        env_id=f"valuegym/{challenge}Language-v0",
        arguments="{}",
        agents=(*FOLLOWERS[:-1], *LANGUAGE_MODELS, "oracle"),
        timesteps=0,
        episodes=6,
        seeds=tuple(range(5)),
        score="return",
        options=("history", (0, 1, 2, 3, 4, 5)),
        tags=("language", challenge.lower()),
    )
    for challenge in ("Follow", "Predict")
]
_PEOPLE.append(
    replace(
        _PEOPLE[0],
        id="language/coevolve-people",
        about="Answer for people that are language models, and are changed by these answers.",
        env_id="valuegym/CoevolveLanguage-v0",
        agents=(*FOLLOWERS[:-1], "silent", *LANGUAGE_MODELS, "oracle"),
        tags=("language", "coevolve"),
    )
)
EXPERIMENTS: dict[str, Experiment] = {
    experiment.id: experiment
    for experiment in (
        DELIVERY,
        *_BOARDS,
        *_EARLY,
        *_POLICY,
        _ASKING,
        *_PUBLISHED,
        *_HUMAN,
        *_RELABELLED,
        *_CONTROL,
        *_PREFERENCES,
        *_FEEDBACK,
        LOCK_IN,
        *_VALUES,
        TOKENS,
        *_PEOPLE,
    )
}

SUITE = frozenset(EXPERIMENTS)  # those of valuegym, whose own agents are known to fit
NAME_IT = (
    "if it belongs to a file or package that you trust, name that by --plugin, for nothing that a record names is ever "
    "imported."
)
_LOADED: list[str] = []  # texts by which experiments from outside were loaded in this process, in order


def find(name: str) -> Experiment:
    """Return the experiment of this name.

    Raises:
        ValueError: for an unknown name; it suggests the nearest, and says how one from outside is loaded.
    """
    if checks.text("experiment", name, "the id of an experiment") not in EXPERIMENTS:
        hint = checks.similar(name, EXPERIMENTS)
        raise ValueError(
            f"There is no experiment {name!r} here; `valuegym list` shows those there are, and --plugin FILE.py:NAME "
            f"or --plugin PACKAGE loads others.{hint}"
        )
    return EXPERIMENTS[name]


def _check(experiment: Any, text: str) -> Experiment:
    """Return an experiment from outside, if all its fields are sensible."""
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{text} holds a {type(experiment).__name__}; expected an Experiment, or several.")
    if not NAME.fullmatch(str(experiment.id)):
        raise ValueError(
            f"{text}: id is {checks.printed(experiment.id)}; expected FAMILY/TRACK in lower-case letters, digits and "
            "dashes, at most 40 and 60 of them."
        )
    where = f"{text} ({experiment.id})"
    if checks.text(f"{where}: env_id", experiment.env_id) not in gym.registry:
        raise ValueError(
            f"{where}: env_id is {checks.printed(experiment.env_id)}, which is not registered with Gymnasium."
        )
    try:
        arguments = json.loads(experiment.arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: arguments is no JSON ({error}).") from None
    if not isinstance(arguments, dict):
        raise ValueError(f"{where}: arguments is {checks.printed(experiment.arguments)}; expected a JSON object.")
    checks.integer(f"{where}: timesteps", experiment.timesteps, 0, 10**12)
    checks.integer(f"{where}: episodes", experiment.episodes, 1, 1_000)
    checks.choice(f"{where}: score", experiment.score, ("return", "evaluation_points"))
    checks.choice(f"{where}: units", experiment.units, ("", "tasks", "seeds"))
    seeds = checks.integers(f"{where}: seeds", experiment.seeds, (None,), 0, 2**31 - 1).tolist()
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"{where}: seeds is {checks.printed(experiment.seeds)}; expected one or more different integers."
        )
    _check_texts(where, experiment)
    _check_options(where, experiment)
    _check_references(where, experiment)
    if EXPERIMENTS.get(experiment.id, experiment) != experiment:
        raise ValueError(
            f"{text}: another experiment is called {checks.printed(experiment.id)} already; choose another id."
        )
    return experiment


def _check_texts(where: str, experiment: Experiment) -> None:
    for name in ("agents", "tags"):
        texts: Any = getattr(experiment, name)
        if not isinstance(texts, (tuple, list)) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{where}: {name} is {checks.printed(texts)}; expected several texts.")
    for name in ("about", "data"):
        checks.text(f"{where}: {name}", getattr(experiment, name))
    for name in ("ranked", "deterministic"):
        checks.flag(f"{where}: {name}", getattr(experiment, name))


def _check_options(where: str, experiment: Experiment) -> None:
    options: Any = experiment.options
    if options is None:
        return
    if not (isinstance(options, (tuple, list)) and len(options) == 2 and isinstance(options[0], str)):
        raise ValueError(
            f"{where}: options is {checks.printed(options)}; expected a name and a value for each episode."
        )
    if not isinstance(options[1], (tuple, list)) or len(options[1]) != experiment.episodes:
        raise ValueError(
            f"{where}: options is {checks.printed(options)}; expected {experiment.episodes} values, one an episode."
        )


def _check_references(where: str, experiment: Experiment) -> None:
    """Refuse references that are declared where the core computes them, and a score without any."""
    computed = False
    if not experiment.simulated:
        core = load_core(gym.spec(experiment.env_id).kwargs["core"])
        computed = hasattr(core, "references") or experiment.score != "return"
    elif experiment.score != "return":
        raise ValueError(
            f"{where}: score is {checks.printed(experiment.score)}; an environment without a core has 'return' alone."
        )
    elif experiment.data:
        raise ValueError(
            f"{where}: data is {checks.printed(experiment.data)}; an environment without a core gets none."
        )
    if experiment.references is None and not computed:
        raise ValueError(
            f"{where}: references is None, but {experiment.env_id} computes none; expected the returns of a naive "
            "agent and of the best one, such as references=(20.0, 500.0)."
        )
    if experiment.references is not None:
        naive, best = checks.reals(f"{where}: references", experiment.references, (2,)).tolist()
        if computed:
            raise ValueError(f"{where}: {experiment.env_id} computes its references; leave references out.")
        if not 1e-9 * max(abs(naive), abs(best)) < best - naive < float("inf"):
            raise ValueError(
                f"{where}: references is {checks.printed(experiment.references)}; expected the naive return first, "
                "the best above it."
            )


def register(experiment: Experiment) -> Experiment:
    """Add an experiment to the table of this process, and return it.

    Worker processes do not know it; they do if it is loaded by a text that names it (`load`).

    Raises:
        ValueError: a field is not sensible, or another experiment has the same id.
    """
    EXPERIMENTS[experiment.id] = _check(experiment, "experiment")
    return experiment


def load(text: str) -> list[Experiment]:
    """Load experiments from outside into this process's table, importing what the text names.

    Args:
        text: FILE.py:NAME or PACKAGE.MODULE:NAME of an `Experiment` or several, PACKAGE.PLUGIN of an installed one, or
            PACKAGE for all that it has under `valuegym.experiments`.

    Raises:
        ValueError: the text names nothing, or something else than experiments; a field is not sensible; or another
            experiment has the same id.
    """
    if plugins.is_reference(text):
        objects = [plugins.load_reference(text)]
    else:
        names = [name for name in plugins.installed(GROUP) if text in (name, name.rpartition(".")[0])]
        if not names:
            raise ValueError(
                f"{text!r} names no experiments; expected FILE.py:NAME, PACKAGE.MODULE:NAME, or an installed package "
                f"or plug-in of {GROUP}, of which there are {list(plugins.installed(GROUP)) or 'none'}."
            )
        objects = [plugins.load_plugin(GROUP, name) for name in names]
    several = [value if isinstance(value, (list, tuple)) else [value] for value in objects]
    found = [_check(value, text) for values in several for value in values]
    EXPERIMENTS.update((experiment.id, experiment) for experiment in found)
    if text not in _LOADED:
        _LOADED.append(text)
    return found


def loaded() -> tuple[str, ...]:
    """Return the texts by which experiments from outside were loaded in this process."""
    return tuple(_LOADED)


def resolve(names: Iterable[str]) -> list[str]:
    """Return ids of experiments for ids and texts that name experiments from outside; these are loaded.

    Raises:
        ValueError: for an unknown name, or an experiment that cannot be loaded.
    """
    outside = plugins.installed(GROUP)
    found: list[str] = []
    for name in names:
        checks.text("experiment", name, "the id of an experiment, or FILE.py:NAME")
        if name not in EXPERIMENTS and (plugins.is_reference(name) or name in outside):
            found += (experiment.id for experiment in load(name))
        else:
            found.append(find(name).id)
    return found


def in_workers(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that loads this process's experiments from outside before it works; for other processes."""
    return functools.partial(_prepared, loaded(), function)


def _prepared(texts: tuple[str, ...], function: Callable[[Any], Any], item: Any) -> Any:
    for text in texts:
        if text not in _LOADED:
            load(text)
    return function(item)
