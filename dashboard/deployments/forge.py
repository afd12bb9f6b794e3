"""Links to commits, where the link of a pipeline's run says in which repository it ran."""

import re
from dataclasses import dataclass

SHA = re.compile(r"[0-9a-fA-F]{7,64}")
NAME = r"[\w.~-]+"
# The address of a run; the repository; the paths of a commit and of what lies between two.
FORGES = (
    # GitLab, whose groups nest.
    (
        rf"https?://[^/?#]+(?:/{NAME})+?/-/(?:pipelines|jobs)/.*",
        r"/-/.*",
        "/-/commit/{sha}",
        "/-/compare/{base}...{sha}",
    ),
    # GitHub; Gitea and Forgejo, which have its addresses.
    (
        rf"https?://[^/?#]+/{NAME}/{NAME}/actions/runs/.*",
        r"/actions/runs/.*",
        "/commit/{sha}",
        "/compare/{base}...{sha}",
    ),
    (
        rf"https://bitbucket\.org/{NAME}/{NAME}/(?:addon/)?pipelines/.*",
        r"/(?:addon/)?pipelines/.*",
        "/commits/{sha}",
        "/branches/compare/{sha}..{base}",
    ),
)


@dataclass(frozen=True, slots=True)
class Forge:
    """Where a repository can be read. Made by `forge_of`."""

    repository: str
    commit_path: str
    compare_path: str

    def commit(self, sha: str) -> str:
        """Return the address of a commit, "" for what is none."""
        return self.repository + self.commit_path.format(sha=sha) if SHA.fullmatch(sha) else ""

    def between(self, base: str, sha: str) -> str:
        """Return the address of the commits after `base` up to `sha`, "" without two of them."""
        if base == sha or not SHA.fullmatch(base) or not SHA.fullmatch(sha):
            return ""
        return self.repository + self.compare_path.format(base=base, sha=sha)


def forge_of(run_url: str) -> Forge | None:
    """Return the forge of the repository whose pipeline's run this is; None where the address does not say."""
    for run, rest, commit_path, compare_path in FORGES:
        if re.fullmatch(run, run_url):
            return Forge(re.sub(rest, "", run_url, count=1), commit_path, compare_path)
    return None
