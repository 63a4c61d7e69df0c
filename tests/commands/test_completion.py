"""What a shell completes, asked of the shell itself."""

import shutil
import subprocess

import pytest

from focvs.cli import main
from focvs.commands.completion import completion_script
from focvs.errors import FocvsError


def completed(script, words):
    """What bash offers for the last of the words."""
    line = " ".join(words)
    # bash splits at = before it calls the function
    parts = [part for word in words for part in (word.replace("=", " = ").split() if "=" in word else [word])]
    if words[-1] == "" or words[-1].endswith("="):
        parts = [p for p in parts if p] + [""]
    program = (
        f"{script}\ncompopt() {{ :; }}\nCOMP_WORDS=({' '.join(repr(p) for p in parts)}); COMP_CWORD={len(parts) - 1}; "
        f"COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; _focvs; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "wanted", "unwanted"),
    [
        (["focvs", "eva"], {"evaluate"}, {"sweep"}),
        (["focvs", "scan.nii.gz", "thick"], {"thickness="}, {"truth="}),
        (["focvs", "evaluate", "tis"], {"tissues="}, set()),
        (["focvs", "scan.nii.gz", "quality="], {"fast", "default", "best", "samples"}, {"true"}),
        (["focvs", "scan.nii.gz", "compile=t"], {"true"}, {"false"}),
        (["focvs", "simulate", "a.nii", "b.nii", "profile=g"], {"gaussian"}, {"rect"}),
    ],
)
def test_bash(capsys, words, wanted, unwanted):
    assert main(["completion", "bash"]) == 0
    found = completed(capsys.readouterr().out, words)
    assert wanted <= found and not unwanted & found


def test_other_shells(capsys):
    assert main(["completion", "zsh"]) == 0
    assert "bashcompinit" in capsys.readouterr().out
    assert main(["completion", "fish"]) == 0
    fish = capsys.readouterr().out
    assert "-a sweep" in fish and "quality=fast quality=paper quality=samples" in fish.replace(
        "quality=best quality=default ", ""
    )
    with pytest.raises(FocvsError, match="choose one of bash, zsh, fish"):
        completion_script("csh", {})
