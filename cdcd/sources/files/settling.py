"""In which order differences are told and kept, and which of them are in one commit. Pure.

What fits one commit is one: what is gone, from the inside out, then what has come. Of more, so that a crash between two commits
leaves nothing that the next look does not find as it was:
- directories come first, each before what is in it, and are gone after all that was in them;
- the halves of a file's rename are in one commit;
- a directory that was renamed is told of at the beginning and at the end; in between the store knows of it.
A rename of or onto a path that also changed its kind, file or directory, is not kept together: after such a crash its halves are told
without each other.
"""

from collections.abc import Iterable, Mapping, Sequence

from cdcd.sources.files.tree import Difference, Moves, Tree, is_dir, same_inode


def commits(differences: Sequence[Difference], moved: Moves, most: int) -> list[list[Difference]]:
    """Commits of about `most` each."""
    gone = sorted((d for d in differences if d.new is None), key=lambda d: d.path, reverse=True)
    come = {difference.path: difference for difference in differences if difference.new is not None}
    if len(differences) <= most:
        return [[*gone, *come.values()]] if differences else []
    parts: list[list[Difference]] = [[]]

    def put(*together: Difference) -> None:
        if len(parts[-1]) + len(together) > most:
            parts.append([])
        parts[-1].extend(together)

    for path in sorted(path for path, difference in come.items() if difference.new is not None and is_dir(difference.new)):
        put(come.pop(path))
    for before in gone:
        after = come.get(moved.to.get(before.path, ""))
        if after is None or (after.old is not None and is_dir(after.old)):
            put(before)
        else:
            put(before, come.pop(after.path))
    for difference in come.values():
        put(difference)
    return parts


def renamed(differences: Iterable[Difference], moved: Moves) -> dict[str, str]:
    """The directories that were renamed, old path to new, without those that went with another."""
    found = {d.path: moved.to[d.path] for d in differences if d.old is not None and is_dir(d.old) and d.path in moved.to}
    return {old: new for old, new in found.items() if found.get(_above(old)) != _above(new)}


def resume(differences: Iterable[Difference], moved: Moves, moving: Mapping[str, str], tree: Tree) -> None:
    """Of renames whose first half was kept before a crash, the other halves: adds to `moved`."""
    for difference in differences:
        old, path = difference.old, difference.path
        if old is None or difference.new is not None or not is_dir(old):
            continue
        for before, after in moving.items():
            if path == before or path.startswith(before + "/"):
                new = after + path[len(before) :]
                entry = tree.get(new)
                if entry is not None and is_dir(entry) and same_inode(old, entry):
                    moved.to[path] = new


def _above(path: str) -> str:
    return path.rpartition("/")[0]
