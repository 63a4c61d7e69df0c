from focvs.cli import main
from focvs.commands.overrides import quote


def run(capsys, *words):
    code = main([str(w) for w in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def quick(prior):
    return [
        f"prior.path={quote(str(prior))}",
        "quality=samples",
        "samples=1",
        "steps=1",
        "figure=false",
        "report=false",
    ]
