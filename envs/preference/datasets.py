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

from valuegym.envs import array_files
from valuegym.envs.array_files import VARIABLE
from valuegym.envs.preference import human_data
from valuegym.envs.preference.human_data import HumanPreferences, file_names

__all__ = ["CONDITIONS", "FOLDER", "NAME", "VARIABLE", "fetch", "find", "load", "present"]

NAME, FOLDER = "human-delivery", "human_delivery"
_COMMIT = "646a8704f5dc9938acc3eaf9b92263cfb3654585"
SOURCE = f"https://raw.githubusercontent.com/Stephanehk/InfluencingHumanPrefs/{_COMMIT}/data/human_data"
MAX_BYTES = 2**22


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
    "Trained-Control": (
        "dc79953e3074bb1196446e6fd316ab39fa7a012b49e513946bf092d519577d65",
        "165c55a06c8f70b6a4871c4deeccdde0548396e33b4c5b5b9637269be497149c",
        "0781290fdb3b5ee6976c345fe7b2cb2ad278744b406fc7084fe9a566f8dd07a1",
    ),
    "Regret-Trained": (
        "4e2510dd0fc6e72d3112c194d6a72ccf528341482d838d4df735536541b407e0",
        "a7df70ab7e12d18ffe555e67333f466762d57aa1067b4f1ed5c889e29f71a1cb",
        "3ffe21044dc80bdcb5096295bd702f4d92c4349df7f21e8195a61b474fa39925",
    ),
}


def find(data: str | None) -> Path:
    """Return the folder with the delivery preferences: `data` or the variable VALUEGYM_DATA, or its `human_delivery`.

    Raises:
        FileNotFoundError: neither is given, or it is not a folder.
    """
    return array_files.find_folder(data, FOLDER, "Privileged-Control_full_filtered_Y.npy")


def present(data: str | None, unverified: bool = False) -> list[str]:
    """The conditions in the folder: published ones that are known by hash, and those with a card.

    With unverified, also those whose files are only named as published ones are.
    """
    folder = find(data)
    there = human_data.as_published(folder)
    with_card = [name for name in human_data.in_folder(folder) if name not in CONDITIONS]
    others = [name for name in there if name not in CONDITIONS and name not in with_card]
    return [name for name in CONDITIONS if name in there] + with_card + (others if unverified else [])


def fetch(data: str, source: str = SOURCE) -> list[Path]:
    """Download the files that the folder lacks from their publisher; each is checked by its SHA-256 before it is kept.

    Raises:
        OSError: the publisher cannot be reached.
        ValueError: what came is not the published file.
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
                said = array_files.unlike(content, "array")
                raise ValueError(
                    f"What {source} sent as {name} is not the published file: its SHA-256 differs"
                    f"{f', for {said}' if said else ''}."
                )
            temporary = folder / f".{name}.part"
            temporary.write_bytes(content)
            os.replace(temporary, folder / name)
            fetched.append(folder / name)
    return fetched


def load(condition: str, data: str | None = None, unverified: bool = False) -> HumanPreferences:
    """Read one condition: a published one, checked by hash, or one with a card (`human_data`).

    With unverified, also one whose three files are named as published ones are, and of which nothing else is known.

    Raises:
        ValueError: the condition is unknown, or a file is not as it should be.
        FileNotFoundError: the folder or a file is missing.
    """
    human_data.check_name(condition)
    if condition in CONDITIONS:
        return human_data.read_as_published(find(data), condition, CONDITIONS[condition])
    try:
        folder = find(data)
    except FileNotFoundError as error:
        raise ValueError(f"condition = {condition!r} is not published, as {sorted(CONDITIONS)} are. {error}") from None
    if condition in human_data.in_folder(folder):
        return human_data.read(folder, condition)
    if condition not in human_data.as_published(folder):
        known = [*CONDITIONS, *present(data)]
        raise ValueError(f"condition = {condition!r}; expected one of {sorted(set(known))}, or one with a card.")
    if not unverified:
        raise ValueError(
            f"The files of {condition!r} in {folder} are none of the published ones that are known by hash. To use "
            f"them, write a card: valuegym data accept {NAME} --condition {condition}; or, for `valuegym likelihood`, "
            "say --unverified."
        )
    return human_data.read_as_published(folder, condition)
