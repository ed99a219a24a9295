"""Human preferences, read from a folder the user has, checked by content.

Nothing is shipped and nothing is ever unpickled.

The delivery preferences: Knox et al. (2024), Texas Data Repository, doi:10.18738/T8/S4WTWR, and Hatgis-Kessell et
al. (2025), "Influencing humans to conform to preference models for RLHF". Their licence is not stated: study and
test with them, do not redistribute them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, segments

Array = npt.NDArray[Any]

NAME, FOLDER = "human-delivery", "human_delivery"
VARIABLE = "VALUEGYM_DATA"
_COMMIT = "646a8704f5dc9938acc3eaf9b92263cfb3654585"
SOURCE = f"https://raw.githubusercontent.com/Stephanehk/InfluencingHumanPrefs/{_COMMIT}/data/human_data"
MAX_BYTES = 2**22


class HumanPreferences(NamedTuple):
    """n answers of one condition.

    segments: pairs as a Segment with leading axes (n, 2); labels (n,) 0 first, 1 second, 0.5 same; published (n, 3):
    the publisher's second-minus-first differences of partial return, V*(start) and V*(end) at discount 1; sha256 of
    the three files, in the order segment_pairs, Y, X.
    """

    condition: str
    segments: segments.Segment
    labels: Array
    published: Array
    sha256: tuple[str, str, str]


# SHA-256 of segment_pairs, Y and X of every published condition.
CONDITIONS: dict[str, tuple[str, str, str]] = {
    "Privileged-Control": (
        "9832c7f94208f839477255b580ee6c9b80ae948e221842df776351f35946dc07",
        "4375be36ebfac518d28ef074e9a85c0d5a3143fe9b4105986fc80a10a506bc82",
        "1ecbe7c978e18368384f334edcca7383191e6718e4c6a5e444bcafd349fb14fc",
    ),
    "Pr-Privileged": (
        "38f456839c7981144883dc61d447dd0d0a31f9cf5969015f449eea2d0579abf2",
        "69c6df034fa7868f30eeedc6f53a1035897ad53b326838a2cea428f811019645",
        "da8b425163100585774cbba5b0c32406dc924346b084d96e8f7c4e033d4d0d9f",
    ),
    "Regret-Privileged": (
        "cb6ceb2f4206255efed5c5d34ec6ca4ceb15cfc34a2faf0ff15206b1c327d4e5",
        "47b6aef573262855a240e5c66e1f4d61ea9cf615b3892a47b4d8c3e2275d1ec6",
        "0e63927ff4d93f5277ace4a86c4f545514f92e5faafc913acf2428e7621a1841",
    ),
    "Question-Control": (
        "912cc5b4fad44ae30a9764a875ee15b182f00f35734627dd55005d03709e9fde",
        "538ffe5b30f19a2a8b403b3a12ff7452b6204361070a08446f1d21393506b61e",
        "2bcdbc484fafff735765d7443ae62bacc1eeef9c37dc3ac3b1a46a8d2cde29ec",
    ),
    "Pr-Question": (
        "1d444e1a91fffd8b9b8b9fd92f6fadf4b259178ac92f764b8ffb7b4d3fa54b5d",
        "15d9597fb54eaf335acbd73f29cfbaf78485416acaa104ff52ed0585f397f618",
        "71ac523cbe526fde978db7fcc146f625964491c9b3007ff2214fc9abb99bf8c0",
    ),
    "Regret-Question": (
        "c35132663c81d0f8c4a35b407296042cd2353ed73edb19085160c55435e5000e",
        "0633953c65c46cef395c1e437f4610646b02c87388486b47a101ccfc0e947975",
        "c7ee9dc113eaab3d1ce8879b684c0b1936fc6e348c57be28459a782823188d7a",
    ),
}
PARTS = ("segment_pairs", "Y", "X")


def find(data: str | None) -> Path:
    """The folder with the delivery preferences.

    `data` or the variable VALUEGYM_DATA, itself or its subfolder human_delivery.
    """
    root = data or os.environ.get(VARIABLE)
    if not root:
        raise FileNotFoundError(f"Human preferences need the folder they lie in: pass data=FOLDER or set {VARIABLE}.")
    folder = Path(root) / FOLDER if (Path(root) / FOLDER).is_dir() else Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder; expected one that holds files such as Privileged-Control_full_filtered_Y.npy."
        )
    return folder


def file_names(condition: str) -> list[str]:
    """The three files of a condition, in the order of PARTS."""
    return [f"{condition}_full_filtered_{part}.npy" for part in PARTS]


def present(data: str | None) -> list[str]:
    """The published conditions whose files all lie in the folder."""
    folder = find(data)
    return [condition for condition in CONDITIONS if all((folder / name).is_file() for name in file_names(condition))]


def fetch(data: str, source: str = SOURCE) -> list[Path]:
    """Download the files that the folder lacks from their publisher; each is checked by its SHA-256 before it is kept.

    Raises OSError when the publisher cannot be reached, ValueError when what came is not the published file.
    """
    from urllib.request import urlopen

    folder = Path(data) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    fetched = []
    for condition, hashes in CONDITIONS.items():
        for name, expected in zip(file_names(condition), hashes, strict=True):
            if (folder / name).is_file():
                continue
            with urlopen(f"{source}/{name}", timeout=30) as answer:
                content = answer.read(MAX_BYTES + 1)
            if hashlib.sha256(content).hexdigest() != expected:
                raise ValueError(f"What {source} sent as {name} is not the published file: its SHA-256 differs.")
            temporary = folder / f".{name}.part"
            temporary.write_bytes(content)
            os.replace(temporary, folder / name)
            fetched.append(folder / name)
    return fetched


def load(condition: str, data: str | None = None) -> HumanPreferences:
    """Read one condition, checking its files' hashes.

    Raises:
        ValueError: the condition is unknown, or a file is not the published one.
        FileNotFoundError: the folder or a file is missing.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"condition = {condition!r}; expected one of {sorted(CONDITIONS)}.")
    folder, arrays = find(data), []
    for name, expected in zip(file_names(condition), CONDITIONS[condition], strict=True):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{name} is missing from {folder}.")
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise ValueError(f"{folder / name} is not the published file: its SHA-256 differs. Fetch it again.")
        arrays.append(np.load(folder / name, allow_pickle=False))
    pairs, labels, published = arrays
    return HumanPreferences(
        condition, delivery_segments(pairs), labels.astype(np.float64), published, CONDITIONS[condition]
    )


def delivery_segments(pairs: Array) -> segments.Segment:
    """Published pairs (n, 2, L + 1, 2) as segments on the published board.

    Each is a start cell (row, column) and L moves, (0, 0) after the end; ValueError for any other move.
    """
    width = len(delivery.BOARD[0])
    process = delivery.board_mdp(np.array([delivery.BOARD]))
    starts = pairs[:, :, 0] @ (width, 1)
    moves = (pairs[:, :, 1:, None] == delivery.MOVES).all(-1)
    padding = (pairs[:, :, 1:] == 0).all(-1)
    whole = segments.follow(process, starts[None], moves.argmax(-1)[None])
    if not (moves.any(-1) | padding).all() or (padding & whole.mask[0]).any():
        raise ValueError("A segment holds a move that is none of up, down, left, right, or (0, 0) before its end.")
    return segments.Segment(*(field[0] for field in whole))


def mismatches(human: HumanPreferences) -> int:
    """Rows whose published statistics the delivery task does not reproduce exactly.

    Partial return, V*(start), V*(end), all at discount 1.
    """
    process = delivery.board_mdp(np.array([delivery.BOARD]), discount=1.0)
    values = tabular.optimal_values(process, tabular.reward(process, np.array(delivery.WEIGHTS)))[0][0]
    states, features = human.segments.states, human.segments.features
    statistics = np.stack(
        [(features @ np.array(delivery.WEIGHTS)).sum(-1), values[states[..., 0]], values[states[..., -1]]], -1
    )
    return int((np.abs(statistics[:, 1] - statistics[:, 0] - human.published) > 1e-9).any(-1).sum())
