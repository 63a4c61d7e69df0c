"""Help of each command, from the comments of its configuration: one source for what a key means."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from focvs.config import conf_dir

WIDTH, INDENT = 100, 26
HIDDEN = ("hydra", "defaults")  # keys of configurations that are no user's business
NEEDED = "???"


@dataclass(frozen=True)
class Key:
    """A key of a configuration: its name with dots, its default as it is written, and its comment."""

    name: str
    default: str
    comment: str


@dataclass(frozen=True)
class Group:
    """A choice between files: its name, the one that is taken, and the first comment of each."""

    name: str
    default: str
    options: dict[str, str]


HELP = """\
focvs: through-plane super-resolution of head MRI, exactly consistent with the scan

  focvs SCAN [OUTPUT_DIR] [key=value ...]      restore a multi-slice scan (.nii, .nii.gz, DICOM folder)
  focvs SCAN STACK.nii.gz... [OUTPUT_DIR] [...] one volume from several stacks of the same head (DICOM: stacks=[folder])
  focvs FOLDER OUTPUT_DIR [key=value ...]      every scan in a folder and those below it, into a tree like it
  focvs -m SCAN OUTPUT_DIR key=a,b [...]       every combination, one folder each
  focvs demo [DIR] [key=value ...]             generate a head, degrade it, restore it, score it
  focvs simulate VOLUME OUTPUT [key=value ...] make a thick-slice scan from a thin-slice volume
  focvs calibrate DATA prior=... [key=value ...]  measure the errors of a prior on volumes
  focvs profile SCAN [OUTPUT_DIR] [key=value ...] estimate the slice thickness from the scan itself
  focvs qmri OUTPUT_DIR density=PD t1=T1 t2=T2 guides=[T1W,T2W] [...]  maps of PD, T1, T2, with sharp images as guides
  focvs sweep VOLUME OUTPUT_DIR thickness=3,5 gap=0,1 seed=0,1,2 method=spline,focvs [...] simulate, restore, score all
  focvs collect OUTPUT_DIR                     one page and one table of all scans restored into a folder
  focvs status OUTPUT_DIR                      how far a run over a folder is, and what failed
  focvs reproduce NAME_focvs.json [scan=...]   the recorded run once more: are the voxels the same?
  focvs doctor                                 what of this installation works, and what mends the rest
  focvs weights [list | verify | add NAME FOLDER_OR_HUB_ID]  weights that there are, and more of them
  focvs evaluate TRUTH ESTIMATE... [key=value ...] PSNR, SSIM, HFEN, edges, spectrum, residual against the truth

common keys (focvs --cfg job prints all of them with their values):
  thickness=5         slice thickness in mm (default: the scan's JSON, else its slice spacing); estimate: from the scan
  spacing=6           distance of slice centres in mm (default: from the geometry)
  profile=gaussian    gaussian, rect, slr, kspace (thick partitions of a 3D scan), or a .npy file
  quality=default     fast, default, best: the mean of the volume given the scan, and how far it may be off;
                      samples: posterior samples, whose mean is the result; paper: as FOCVS was published
  method=focvs        or a baseline: nearest, linear, spline, replaced, pseudo_inverse, total_variation,
                      self_super_resolution, implicit_representation, guided_filter
  guide=t1w.nii.gz    another contrast of the same head, sharp in all directions
  sampler=mean        with quality=samples resample, dpmpp_2m, ddim, ddpm; dps with consistency=none
  samples=4           volumes drawn around the mean and written beside it; quality=samples averages its own
  consistency=calibrated   calibrated, ddnm, diffpir, none; with sampler=ddpm ddnm_plus, ddrm
  adapt=false         true fine-tunes the prior on the scan's own slices first (minutes)
  planes=alternate    alternate, average (twice the time), coronal, sagittal, axial
  precision=auto      auto, float32, bfloat16, float16 (GPU): what networks compute in
  voxel=auto          voxel size along the slice axis in mm; auto = the in-plane voxel size
  device=auto         auto, cpu, cuda, cuda:1, mps
  devices=1           processes that draw the samples of one scan, on GPUs in turn or with shares of the cores
  workers=1           of a folder of scans, how many are restored at once; log=json prints a line for each
  seed=0  save_samples=false  noise=auto  batch=auto  compile=false
  prior=mean2d        mean2d; with quality=samples head2d, unconditional2d, head3d, diffusers, medforj, monai;
                      path= the checkpoint

options: -h --help, -o --output DIR, -q --quiet, -v --verbose, -m --multirun, --cfg job, --version
focvs COMMAND --help explains every key of a command (focvs restore --help those of a restoration);
focvs completion bash (zsh, fish) prints a script that completes commands and keys
exit codes: 0 done, 1 a job failed, 2 usage, 130 interrupted (Ctrl-C), 143 ended by SIGTERM
"""


def title_of(name: str) -> tuple[str, str]:
    """First comment of conf/``name``.yaml: what the command does, and how it is called."""
    first = _leading_comment((conf_dir() / f"{name}.yaml").read_text())
    what, _, usage = first.partition(": focvs ")
    return what, re.split(r"; | \(", f"focvs {usage}")[0].rstrip(".")


def keys_of(name: str) -> list[Key]:
    """The keys of conf/``name``.yaml in order, those of nested tables with dots."""
    found: list[Key] = []
    comment: list[str] = []
    above: list[tuple[int, str]] = []
    for line in (conf_dir() / f"{name}.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
            continue
        pair = re.match(r"^(\s*)([A-Za-z_]\w*):\s*(.*)$", line)
        if pair:
            depth, key, value = len(pair[1]), pair[2], pair[3]
            above = [(d, k) for d, k in above if d < depth]
            full = ".".join([*(k for _, k in above), key])
            if full.split(".")[0] not in HIDDEN and value:
                found.append(Key(full, value, " ".join(comment)))
            above.append((depth, key))
        comment = []
    return found


def groups_of(name: str) -> list[Group]:
    """The groups that conf/``name``.yaml chooses from, in order."""
    text = (conf_dir() / f"{name}.yaml").read_text()
    found = []
    for key, default in re.findall(r"^\s+- (\w+): (\w+)\s*$", text, flags=re.M):
        folder = conf_dir() / key
        if folder.is_dir():
            files = sorted(folder.glob("*.yaml"))
            found.append(Group(key, default, {f.stem: _leading_comment(f.read_text()) for f in files}))
    return found


def help_of(name: str, command: str) -> str:
    """The help of a command.

    Args:
        name: of its configuration.
        command: as it is typed.
    """
    what, usage = title_of(name)
    lines = [f"focvs {command}: {what[0].lower()}{what[1:]}", "", f"  {usage}", "", "keys, with their defaults:"]
    for key in keys_of(name):
        needed = key.default == NEEDED
        comment = f"{key.comment.rstrip('.')}. Needed." if needed else key.comment
        lines += _entry(f"{key.name}={'' if needed else key.default}", comment)
    groups = groups_of(name)
    if groups:
        lines += ["", "choices, and keys of their own (focvs --cfg job shows them):"]
        for group in groups:
            lines += _entry(f"{group.name}={group.default}", ", ".join(group.options))
            for option, comment in group.options.items():
                lines += _entry(f"  {option}", comment)
    return "\n".join(lines) + "\n"


def _entry(head: str, text: str) -> list[str]:
    """Lines of a key or an option, its text beside or below it."""
    wrapped = textwrap.wrap(text, WIDTH - INDENT) or [""]
    label = f"  {head}"
    if len(label) < INDENT:
        first, rest = f"{label:<{INDENT}}{wrapped[0]}".rstrip(), wrapped[1:]
        return [first, *(" " * INDENT + line for line in rest)]
    return [label, *(" " * INDENT + line for line in wrapped if line)]


def _leading_comment(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def completions_of(name: str) -> dict[str, list[str]]:
    """What may follow each key of a configuration, for completion: options of groups, true and false, else nothing."""
    words: dict[str, list[str]] = {}
    for key in keys_of(name):
        words[key.name] = ["true", "false"] if key.default in ("true", "false") else []
    for group in groups_of(name):
        words[group.name] = list(group.options)
    return words
