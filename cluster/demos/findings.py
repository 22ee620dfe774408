"""What a demo expected of its outcome, and whether it holds, said in words whichever way it turned out."""

from dataclasses import dataclass

from rich.console import Console


@dataclass(frozen=True)
class Finding:
    """One expectation and whether it held."""

    text: str
    holds: bool


def print_findings(console: Console, findings: list[Finding]) -> None:
    """One line each: yes or NO, and what was found."""
    for finding in findings:
        console.print(f"  {'yes' if finding.holds else '[red]NO[/red] '}  {finding.text}", soft_wrap=True)
