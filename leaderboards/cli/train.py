"""Commands for trained agents: `valuegym train` saves one, `valuegym render` shows one at work."""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents import references, saved
from valuegym.envs import checks, extras
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli.arguments import add_command, add_data, add_plugin, add_settings, positive
from valuegym.leaderboards.cli.naming import experiment_of
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.fingerprint import provenance
from valuegym.leaderboards.records.record import write_atomically
from valuegym.leaderboards.tracking.curve import log_curve
from valuegym.leaderboards.training import KeptTraining, Observer, learn, prepare, progress

__all__ = ["PICTURES", "add_commands", "frames", "render", "train"]

KEEP = 60.0  # seconds between two states of a training that are kept
PICTURES = (".gif", ".png", ".webp", ".mp4")  # formats of moving pictures; Pillow writes all but the last


def add_commands(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    sub = add_command(
        commands,
        "train",
        _train,
        "train an agent on an experiment as `valuegym run` does, and save it",
        "valuegym train --agent vagram --experiment control/pendulum --seed 0 --output models",
        "valuegym train --agent sac --set learning_rate=0.001 --experiment control/pendulum --output sac.zip",
        "valuegym train --agent vagram --experiment control/pendulum --device cuda --output vagram.safetensors",
        "valuegym train --agent sac --experiment control/pendulum --keep 10",
    )
    sub.description = """Train an agent on an experiment as `valuegym run` does, and save it.

What a training needs to go on is kept in NAME.training beside the output, every --keep seconds
and at Ctrl-C. The same command goes on from there, and removes the file at the end; remove it
yourself to begin again. Agents that learn quickly keep nothing, and begin again."""
    _add_agent(sub, "a name of `valuegym list`, or PACKAGE.PLUGIN")
    sub.add_argument("--timesteps", type=positive, metavar="N", help="steps of training (default: the experiment's)")
    sub.add_argument("--device", metavar="NAME", help="where networks are trained, such as cpu or cuda")
    sub.add_argument(
        "--output",
        default="models",
        metavar="PATH",
        help="a file, or a folder, which is a name without a suffix; in a folder, the file is called after agent, "
        "experiment and seed (default: models)",
    )
    sub.add_argument("--overwrite", action="store_true", help="replace a file that is there already")
    sub.add_argument(
        "--checkpoint",
        type=positive,
        metavar="N",
        help="save what has been learnt so far every N steps, as NAME-step-N beside the output",
    )
    sub.add_argument(
        "--keep",
        type=_seconds,
        default=KEEP,
        metavar="SECONDS",
        help=f"keep the state of the training so often, for one that is killed to go on from (default: {KEEP:g})",
    )
    sub.add_argument(
        "--track",
        choices=("offline", "online", "off"),
        default="off",
        help="log the returns of training episodes to wandb, beside the output (default: off)",
    )
    sub.add_argument(
        "--tensorboard", metavar="FOLDER", help="log to TensorBoard, where the agent is one of Stable-Baselines3"
    )
    sub = add_command(
        commands,
        "render",
        _render,
        "play one evaluation episode of an experiment or an environment and write it as a moving picture",
        "valuegym render Pendulum --agent oracle --out pendulum.gif",
        "valuegym render --agent saved:vagram.safetensors --experiment control/pendulum --output pendulum.mp4",
        "valuegym render --agent oracle --experiment preference/delivery --episode 3 --output delivery.gif",
    )
    sub.add_argument(
        "environment",
        nargs="?",
        metavar="ENV",
        help="id of an environment, in place of an experiment; agents train as on its track, if it has one",
    )
    _add_agent(sub, references.KINDS + "; one that is not trained yet is trained first, as a run does", required=False)
    sub.add_argument("--episode", type=int, default=0, metavar="K", help="evaluation episode, from 0 (default: 0)")
    sub.add_argument("--steps", type=positive, default=500, metavar="N", help="at most so many (default: 500)")
    sub.add_argument(
        "--output", "--out", required=True, metavar="FILE", help=f"name that ends with {', '.join(PICTURES)}"
    )


def _add_agent(sub: argparse.ArgumentParser, kinds: str, required: bool = True) -> None:
    """Add the arguments that say what plays where."""
    sub.add_argument("--agent", required=True, metavar="NAME", help=kinds)
    sub.add_argument("--experiment", required=required, metavar="ID", help="see `valuegym list`, or FILE.py:NAME")
    sub.add_argument("--seed", type=int, default=0, metavar="N", help="of the run (default: 0)")
    add_settings(sub)
    add_data(sub)
    add_plugin(sub)


def _seconds(text: str) -> float:
    try:
        return checks.real("SECONDS", float(text), 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds of at least 0") from None


def _path(output: str, name: str, what: Experiment, seed: int, suffix: str) -> Path:
    path = Path(output).expanduser()
    if path.is_dir() or not path.suffix:
        return path / f"{name}-{what.id.replace('/', '-')}-seed-{seed}{suffix}"
    if path.suffix != suffix:
        raise ValueError(f"output is {output!r}; models of this agent are files that end with {suffix}.")
    return path


def _check_place(path: Path, overwrite: bool) -> None:
    """Refuse a place where nothing can be written, before the work and not after it."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} is there already; --overwrite replaces it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"Cannot write to {path.parent} ({error.strerror}); choose another folder.") from error


def train(
    agent: str,
    experiment: str,
    output: str = "models",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    timesteps: int | None = None,
    device: str | None = None,
    data: str | None = None,
    overwrite: bool = False,
    track: str = "off",
    tensorboard: str | None = None,
    checkpoint: int | None = None,
    keep: float = KEEP,
) -> Path:
    """Train an agent as a run does, save it, and return the file.

    A training that was killed goes on from the state that is kept beside the file, if the agent can resume
    (`agents.checkpoints`), and ends with the same bits as one that was not.

    Args:
        agent: a name of valuegym's agents, or of a plug-in.
        experiment: its id, or a text that names one from outside.
        output: a file, or a folder, which is a name without a suffix.
        seed: of the run.
        settings: of the agent's constructor.
        timesteps: of training; by default the experiment's budget.
        device: where networks are trained; by default the agent's own choice.
        data: folder of human data, where the experiment needs it.
        overwrite: whether a file that is there is replaced.
        track: "offline" or "online" logs the returns of training episodes to wandb, beside the file; "off" does not.
        tensorboard: folder for TensorBoard, for agents of Stable-Baselines3; None for none.
        checkpoint: steps between files of what has been learnt so far, beside the last one; None for none.
        keep: seconds between two states of the training that are kept.

    Raises:
        ValueError: for an unknown agent or experiment, settings that it does not take, an agent that cannot be saved,
            a name with another suffix, an experiment without a budget where none is given, or a state that is there of
            another training.
        OSError: the file is there already, or cannot be written.
        DivergenceError: what the agent learns is no longer finite.
        KeyboardInterrupt: saying what is kept.
    """
    [name] = experiments.resolve([experiment])
    what = experiments.find(name)
    budget = what.timesteps if timesteps is None else checks.integer("timesteps", timesteps, 1)
    if not budget:
        raise ValueError(f"{what.id} has no budget, for its agents learn while they act; --timesteps N gives one.")
    checks.choice("track", track, ("offline", "online", "off"))
    if checkpoint is not None:
        checks.integer("checkpoint", checkpoint, 1)
    chosen = dict(settings or {})
    here = {"device": device, "tensorboard_log": tensorboard}  # of this training, and no part of what is saved
    label = f"{references.record_name(agent, chosen)} on {what.id}, seed {seed}"
    described = {"experiment": what.id, "environment": what.spec(), "timesteps": budget, "versions": provenance()}
    watching: list[Observer] = []  # those who watch are known after the agent, which says what its file is called

    def observe(steps: int, episode_return: float | None) -> None:
        for observer in watching:
            observer(steps, episode_return)

    player, env = prepare(
        agent,
        what,
        seed,
        data,
        chosen | {key: value for key, value in here.items() if value},
        [observe],
        logged=True,
    )

    def save(path: Path, steps: int) -> None:
        content = saved.encode(player, agent, env, seed, chosen, **(described | {"timesteps": steps}))
        write_atomically(path, content)

    def save_part(steps: int, episode_return: float | None) -> None:
        if checkpoint and steps % checkpoint == 0 and steps < budget:
            save(path.with_name(f"{path.stem}-step-{steps}{path.suffix}"), steps)

    saved.encode(player, agent, env, seed, chosen, **described)  # what cannot be saved is not trained
    path = _path(output, references.record_name(agent, settings), what, seed, saved.suffix(player))
    _check_place(path, overwrite)
    whose = {"agent": agent, "seed": seed, "settings": chosen, "source": references.origin(agent).get("source")}
    kept = KeptTraining(path.with_suffix(".training"), player, env, whose | described, checks.real("keep", keep, 0))
    with ExitStack() as stack:
        if track != "off":
            config = {"agent": agent, "seed": seed, "settings": chosen} | described
            curve = stack.enter_context(log_curve(label, config, path.parent, track))
            watching.append(curve.observe)
        watching.append(stack.enter_context(progress(budget, label, in_files=True)))
        stack.enter_context(executors.limited_threads())
        kept.resume()
        watching.append(save_part)
        with kept:
            learn(player, budget)
    save(path, budget)
    kept.path.unlink(missing_ok=True)
    if track != "off":
        print(curve.message, file=sys.stderr)
    return path


def frames(
    player: Any, what: Experiment, seed: int, episode: int = 0, steps: int = 500, data: str | None = None
) -> Any:
    """Return pictures (T + 1, H, W, 3) of an evaluation episode, and how many belong to a second.

    Args:
        player: an agent that is trained.
        what: the experiment.
        seed: of the run.
        episode: number of the episode among those of the run, from 0.
        steps: the largest number of steps T.
        data: folder of human data, where the experiment needs it.

    Raises:
        ValueError: there is no such episode.
    """
    checks.integer("episode", episode, 0, what.episodes - 1)
    env: Any = gym.make(what.env_id, render_mode="rgb_array", **what.make_kwargs(data))
    if hasattr(player, "attach"):
        player.attach(env)
    observation, _ = env.reset(seed=what.evaluation_seeds(seed)[episode], options=what.reset_options()[episode])
    start, memory, over = np.array([True]), None, False
    found = [env.render()]
    while not over and len(found) <= steps:
        action, memory = player.predict(observation, state=memory, episode_start=start, deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        start, over = np.array([False]), terminated or truncated
        found.append(env.render())
    env.close()
    return np.stack(found), env.metadata.get("render_fps", 10)


def render(
    agent: str,
    experiment: str | Experiment,
    output: str,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    episode: int = 0,
    steps: int = 500,
    data: str | None = None,
) -> Path:
    """Play an evaluation episode of an experiment, after training where there is a budget, and write it as a picture.

    Raises:
        ValueError: for an unknown agent or experiment, settings that it does not take, no such episode, or a name that
            ends otherwise than those of moving pictures.
        ImportError: Pillow is not installed or, for .mp4, moviepy.
        OSError: the file cannot be written.
    """
    path = Path(output).expanduser()
    checks.choice("the ending of output", path.suffix, PICTURES)
    encode = _video if path.suffix == ".mp4" else _images
    encode(np.zeros((1, 2, 2, 3), np.uint8), 1.0, path.suffix)  # what is missing shows before the work and not after it
    if isinstance(experiment, Experiment):
        what = experiment
    else:
        [name] = experiments.resolve([experiment])
        what = experiments.find(name)
    with progress(what.timesteps, f"{agent} on {what.id}, seed {seed}") as observer, executors.limited_threads():
        player, _ = prepare(agent, what, seed, data, settings, (observer,))
        _check_place(path, overwrite=True)
        learn(player, what.timesteps)
        pictures, per_second = frames(player, what, seed, episode, steps, data)
    write_atomically(path, encode(pictures, per_second, path.suffix))
    return path


def _images(pictures: Any, per_second: float, suffix: str) -> bytes:
    """Return a moving picture in one of Pillow's formats."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"Pictures need Pillow: {extras.hint('site')} ({error}).") from error
    first, *rest = map(Image.fromarray, pictures)
    stream = io.BytesIO()
    moving: dict[str, Any] = {"save_all": True, "append_images": rest, "duration": 1000 / per_second, "loop": 0}
    first.save(stream, suffix[1:], **moving)
    return stream.getvalue()


def _video(pictures: Any, per_second: float, suffix: str) -> bytes:
    """Return a film."""
    try:
        from moviepy import ImageSequenceClip
    except ImportError as error:
        raise ImportError(f"Films need moviepy: {extras.hint('video')} ({error}).") from error
    if len(pictures) == 1:
        return b""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"film{suffix}"
        ImageSequenceClip(list(pictures), fps=per_second).write_videofile(str(file), logger=None)
        return file.read_bytes()


def _train(args: argparse.Namespace) -> None:
    path = train(
        args.agent,
        args.experiment,
        args.output,
        args.seed,
        dict(args.set),
        args.timesteps,
        args.device,
        args.data,
        args.overwrite,
        args.track,
        args.tensorboard,
        args.checkpoint,
        args.keep,
    )
    print(path)
    print(f"valuegym run --agent saved:{path} --experiment {args.experiment} --seed {args.seed}")


def _render(args: argparse.Namespace) -> None:
    if (args.environment is None) == (args.experiment is None):
        raise ValueError("Say what is played: the id of an environment, or --experiment ID.")
    what = args.experiment if args.environment is None else experiment_of(args.environment)
    print(render(args.agent, what, args.output, args.seed, dict(args.set), args.episode, args.steps, args.data))
