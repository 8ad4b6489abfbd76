"""What a volume's header claims, read before any voxel: so that a damaged or hostile file cannot fill the memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from xct_components.failures import RefusedInput, UnreadableInput, first_line

#: More voxels than these are not prepared: a 512 x 512 matrix with 2048 slices, 3 GiB while it is read.
MOST_VOXELS = 1 << 29
#: A CT shrinks 2 to 5 times when it is compressed; a file that claims to unfold this many times is a bomb.
MOST_UNFOLDING = 100
#: Detached or attached text headers end within this many bytes.
HEADER_BYTES = 1 << 16

_BYTES_BY_TYPE = {
    **dict.fromkeys(
        ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t", "met_char", "met_uchar"), 1
    ),
    **dict.fromkeys(("short", "short int", "int16", "int16_t", "signed short", "ushort", "unsigned short", "uint16"), 2),
    **dict.fromkeys(("uint16_t", "met_short", "met_ushort"), 2),
    **dict.fromkeys(("double", "met_double", "int64", "uint64", "long long", "unsigned long long", "met_long_long"), 8),
}


@dataclass(frozen=True)
class HeaderClaim:
    """Size of a volume according to its header.

    Args:
        voxels: their number, all channels and time points counted.
        voxel_bytes: bytes of one.
        compressed: whether the bytes on disk are fewer.
    """

    voxels: int
    voxel_bytes: int
    compressed: bool


def require_bounded(path: Path) -> None:
    """Refuse a NIfTI, NRRD or MetaImage file whose voxels would not fit, or do not fit to the size of the file.

    Raises:
        UnreadableInput: if the header is damaged or the file is shorter than it says.
        RefusedInput: if it claims more voxels than any CT has, or unfolds like a compression bomb.
    """
    try:
        claim = header_claim(path)
    except (RefusedInput, UnreadableInput):
        raise
    except Exception as error:  # damaged headers fail in a dozen ways
        raise UnreadableInput(f"{path.name} has a damaged header: {first_line(error)}") from error
    if claim is None:
        return
    if claim.voxels > MOST_VOXELS:
        raise RefusedInput(f"{path.name} claims {claim.voxels} voxels, more than {MOST_VOXELS}; damaged, or crop it first")
    claimed, on_disk = claim.voxels * claim.voxel_bytes, path.stat().st_size
    if path.suffix.lower() in (".nhdr", ".mhd"):  # the voxels are in other files
        return
    if not claim.compressed and on_disk < claimed:
        raise UnreadableInput(f"{path.name} is truncated: {on_disk} bytes, but its header claims {claimed} bytes of voxels")
    if claim.compressed and claimed > MOST_UNFOLDING * on_disk:
        raise RefusedInput(
            f"{path.name} would unfold from {on_disk} to {claimed} bytes, over {MOST_UNFOLDING} times: truncated, or a bomb"
        )


def header_claim(path: Path) -> HeaderClaim | None:
    """The claim of a file's header; None if it is not one of the formats."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _nifti_claim(path)
    if name.endswith((".nrrd", ".nhdr", ".mhd", ".mha")):
        return _text_claim(path)
    return None


def _nifti_claim(path: Path) -> HeaderClaim:
    import nibabel
    from nibabel.imageglobals import LoggingOutputSuppressor

    with LoggingOutputSuppressor():
        image = nibabel.load(path)
        return HeaderClaim(math.prod(image.shape), image.get_data_dtype().itemsize, path.name.lower().endswith(".gz"))


def _text_claim(path: Path) -> HeaderClaim:
    with path.open("rb") as stream:
        text = stream.read(HEADER_BYTES).decode("latin-1")
    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    fields = {}
    for line in text.split("\n\n")[0].splitlines() if nrrd else text.splitlines():
        key, found, value = line.partition(":" if nrrd else "=")
        if found:
            fields[key.strip().lower()] = value.strip().lstrip("=").strip()
        if not nrrd and key.strip().lower() == "elementdatafile":
            break
    sizes, kind = ("sizes", "type") if nrrd else ("dimsize", "elementtype")
    if sizes not in fields:
        raise UnreadableInput(f"{path.name} has no {'NRRD' if nrrd else 'MetaImage'} header: damaged, or named wrongly")
    compressed = "gz" in fields.get("encoding", "") or fields.get("compresseddata", "").lower() == "true"
    voxel_bytes = _BYTES_BY_TYPE.get(fields.get(kind, "").lower(), 4)
    return HeaderClaim(math.prod(int(size) for size in fields[sizes].split()), voxel_bytes, compressed)
