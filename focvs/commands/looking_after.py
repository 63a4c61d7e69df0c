"""Commands that have no configuration: what there is, what became of runs, and whether they give the same again."""

from __future__ import annotations

from pathlib import Path

from focvs.commands.overrides import UsageError

UNCONFIGURED = ("doctor", "weights", "collect", "status", "reproduce")


def look_after(words: list[str]) -> bool:
    """Run one of :data:`UNCONFIGURED`.

    Args:
        words: of the command line, the command first.

    Returns:
        Whether all was well.

    Raises:
        UsageError: for words that it does not take.
        FocvsError: as the command itself.
    """
    if words[0] == "weights":
        from focvs.commands.weights import manage_weights

        return manage_weights(words[1:])
    if words[0] == "collect":
        if len(words) != 2:
            raise UsageError("focvs collect takes the folder of the results, and nothing else.")
        from focvs.commands.collect import collect

        collect(Path(words[1]))
        return True
    if words[0] == "status":
        if len(words) != 2:
            raise UsageError("focvs status takes the folder of the results, and nothing else.")
        from focvs.commands.status import report_status

        print("\n".join(report_status(Path(words[1]))))
        return True
    if words[0] == "reproduce":
        keys = dict(word.split("=", 1) for word in words[2:] if "=" in word)
        if len(words) < 2 or len(keys) != len(words) - 2 or not keys.keys() <= {"scan", "device"}:
            raise UsageError(
                "focvs reproduce takes the JSON of a result, and scan= and device= where they have changed."
            )
        from focvs.commands.reproduce import reproduce

        return reproduce(Path(words[1]), **keys)
    if words[1:]:
        raise UsageError(f"focvs doctor takes no words, and {words[1]} was given.")
    from focvs.commands.doctor import examine

    return examine()
