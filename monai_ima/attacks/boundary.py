from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import torch

from monai_ima.perturbations.norms import Generators, per_sample
from monai_ima.utils.checks import check_choice, check_count, check_not_negative

from .base import AttackResult, AttackSettings
from .line_search import Segment, bisect, interpolate
from .pgd import PathAttack
from .target import Target, select_samples

__all__ = ["BoundaryPGD"]

SMALLEST_START = 0.01
SEARCHES = {"bisection": (bisect, 10), "itp": (interpolate, 4)}
"""How the last step is searched, and with how many points unless told otherwise."""


class BoundaryPGD(PathAttack):
    """B-PGD, Algorithm 3 of Ma & Liang (arXiv 2005.09147): the point where a sample's path meets the boundary.

    - Line 1: PGD inside the ε-ball (:meth:`PathAttack.path`); the criterion is evaluated on every iterate, the start
      included.
    - Lines 2-3, case 0, never misclassified: ``image`` is the last iterate, ``success`` is False.
    - Lines 4-9, case 1, first misclassified at iterate k: a search, ``binary_steps`` points long, between iterate k-1
      (the clean image when k is the start) and iterate k; ``image`` is the last point on the *correct* side,
      ``success`` is True. A further ``2^-binary_steps`` of that last step along (``"itp"``: at most
      ``2^(1 - binary_steps)``, and mostly far less), it is misclassified.
    - Misclassified when clean: there is no boundary to look for; ``image`` is the clean image, ``success`` and
      ``clean_correct`` are False.

    **Where the path starts decides whether** ``distance`` **is a margin.** In high dimensions a point drawn from a ball
    lies on its surface, a path that starts there stays near the surface, and the crossing is found there whatever the
    sample's distance to the boundary is. From the clean image the path crosses near the sample
    (``docs/results/margins.md``). Algorithm 3 says "standard PGD" and leaves the start open.

    With ``restarts`` above 1 (the paper's note to Algorithm 2) further paths start at random points and the nearest
    crossing counts: of the paths, and of the straight line (chord) from the clean image to each crossing. Where a
    crossing is known the ball shrinks to it, with shorter steps, and the random start lies within 1 % of that radius
    around the image; where none is known it lies anywhere in the ball.

    Args:
        norm: ``"l2"`` or ``"linf"``.
        steps: N_PGD, >= 1.
        binary_steps: N_binary, number of points that are tried on the last step, >= 0; None: 10 for ``"bisection"``, 4
            for ``"itp"``, which on average come as near to the boundary as 7 bisections.
        start: ``"clean"``: the first path starts at the image; ``"ball"``: at a point drawn uniformly from the ball of
            radius ε - ``delta`` (but at least 1 % of ε).
        restarts: number of paths, >= 1.
        alpha: α; a constant step is α ε / N_PGD long; None: 4.
        delta: δ, the expansion step, >= 0: a random start lies in the part of the ball that was safe before it grew.
        schedule: ``"constant"`` or ``"cosine"``: how step lengths fall (:class:`PathAttack`).
        search: on the last step, ``"bisection"`` (the paper's) or ``"itp"``, which goes to where the criterion's score
            crosses its threshold on the line between the scores that are known (Oliveira & Takahashi 2020); None:
            bisection with constant steps, ITP with cosine ones. Where the score moves in steps (Dice near 1),
            ``binary_steps=10`` makes margins exact.
        settings: see :class:`Attack`; the random starts are drawn from ``generator``.

    Raises:
        ValueError: if a number is out of its range, ``start``, ``schedule`` or ``search`` is another name, or ``alpha``
            is given with another schedule than ``"constant"``.

    Example:
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> image, label = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1])
        >>> result = BoundaryPGD("l2", steps=20)(network, image, label, eps=2.0)
        >>> result.image.shape, result.success.dtype
        (torch.Size([4, 1, 4, 4]), torch.bool)
        >>> margins = result.distance[result.success]  # of the samples whose boundary lies within 2
    """

    def __init__(
        self,
        norm: str = "l2",
        steps: int = 20,
        binary_steps: int | None = None,
        start: str = "clean",
        restarts: int = 1,
        alpha: float | None = None,
        delta: float = 0.0,
        schedule: str = "constant",
        search: str | None = None,
        **settings: Unpack[AttackSettings],
    ) -> None:
        random_start = check_choice("start", start, ("clean", "ball")) == "ball"
        super().__init__(
            norm,
            steps=steps,
            restarts=restarts,
            alpha=alpha,
            random_start=random_start,
            schedule=schedule,
            **settings,
        )
        usual = "bisection" if self.schedule == "constant" else "itp"
        self.search = usual if search is None else check_choice("search", search, SEARCHES)
        enough = SEARCHES[self.search][1]
        self.binary_steps = enough if binary_steps is None else check_count("binary_steps", binary_steps, 0)
        self.delta = check_not_negative("delta", delta)

    def start_radius(self, eps: torch.Tensor) -> torch.Tensor:
        """Radius of the balls that random starts are drawn from: float ``[B]``."""
        return torch.maximum(eps - self.delta, SMALLEST_START * eps)

    def run(self, target: Target, generator: Generators) -> AttackResult:
        """Lines 5-9 of Algorithm 2 for one batch; with ``restarts`` its note: the nearest crossing of several paths."""
        image = target.image.clone()
        crossed = torch.zeros_like(target.clean_correct)
        rows = target.clean_correct.nonzero().squeeze(1)
        if len(rows) > 0:
            active, generators = select_samples(target, generator, rows)
            radius = self.start_radius(active.eps) if self.random_start else None
            nearest, found = self.first_crossing(active, generators, radius)
            for _ in range(1, self.restarts):
                distance = target.norm.length(nearest - active.image)
                ball = replace(active, eps=torch.where(found, distance, active.eps))
                radius = torch.where(found, SMALLEST_START * distance, self.start_radius(active.eps))
                point, crosses = self.first_crossing(ball, generators, radius)
                nearer = crosses & (~found | (target.norm.length(point - active.image) < distance))
                nearest = torch.where(per_sample(nearer, point), point, nearest)
                found = found | crosses
            image[rows], crossed[rows] = nearest, found
        return self.result(target, image, crossed)

    def first_crossing(
        self, target: Target, generator: Generators, start_radius: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Algorithm 3 on one path: its points, and which of them are on the boundary, bool ``[B]``.

        Lines 2-3: of a sample that is never misclassified, the last iterate. Lines 4-7: of another, the iterates x_n1
        and x_n2 on both sides of its first crossing, which lines 8-9 search between.

        Args:
            target: samples that are correct when clean.
            generator: source of the random start.
            start_radius: see :meth:`PathAttack.path`.
        """
        points = target.image.clone()
        found = Segment(points, points.clone(), target.clean_score.clone(), target.clean_score.clone())
        crossed, score = torch.zeros_like(target.clean_correct), target.clean_score
        for iterate in self.path(target, generator, start_radius):
            previous_score, score = score, iterate.prediction.score
            if iterate.split is not None and len(iterate.split.wrong) > 0:
                wrong = iterate.split.wrong
                at = iterate.index[wrong]
                found.correct[at], found.misclassified[at] = iterate.previous[wrong], iterate.image[wrong]
                found.correct_score[at], found.wrong_score[at] = previous_score[wrong], score[wrong]
                crossed[at] = True
                score = score[iterate.split.correct]
            last = iterate
        uncrossed = last.prediction.correct
        points[last.index[uncrossed]] = last.image[uncrossed]
        rows = crossed.nonzero().squeeze(1)
        if len(rows) > 0:
            points[rows] = self._searched(target.select(rows), found.select(rows)).correct
        return points, crossed

    def _searched(self, target: Target, segment: Segment) -> Segment:
        """Lines 8-9 on the path's last step; with ``restarts`` then on the chord from the clean image."""
        search = SEARCHES[self.search][0]
        segment = search(target, segment, self.binary_steps)
        if self.restarts > 1:
            chord = replace(segment, correct=target.image, correct_score=target.clean_score)
            segment = search(target, chord, self.binary_steps)
        return segment
