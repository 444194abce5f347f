"""What the user's file says about monitoring and retraining. Does not know how either is done."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from raypipe.spec import Duration, Spec


class PsiLimit(Spec):
    """A population stability index that may not be exceeded."""

    psi: float = Field(gt=0)


class DriftLimits(Spec):
    """How far inputs and scores may move."""

    features: PsiLimit = PsiLimit(psi=0.25)
    """Of each input. 0.25 is the customary sign of a large shift (Siddiqi, Credit Risk Scorecards, 2006)."""
    score: PsiLimit = PsiLimit(psi=0.1)
    """Of the scores."""


class QualityLimit(Spec):
    """How far the quality on the labels that are known may fall."""

    metric: Literal["auc", "log_loss", "brier"] = "auc"
    drop: float = Field(default=0.03, gt=0)
    """Below what the champion reached in validation."""
    min_labels: int = Field(default=500, ge=1)
    """Fewer known labels tell nothing."""


class MonitorSpec(Spec):
    """What is watched."""

    window: Duration | None = None
    """Predictions of the last so long are looked at, by wall time; by default a day longer than labels take."""
    min_rows: int = Field(default=500, ge=1)
    """Fewer predictions tell nothing."""
    drift: DriftLimits = DriftLimits()
    quality: QualityLimit = QualityLimit()

    def window_for(self, matures_within: timedelta) -> timedelta:
        """Return how long the window is, for labels that take so long.

        Examples
        --------
        >>> MonitorSpec().window_for(timedelta(days=2))
        datetime.timedelta(days=3)
        """
        return self.window if self.window is not None else matures_within + timedelta(days=1)


class OnQuality(Spec):
    """Quality on the labels that are known has fallen."""

    kind: Literal["quality"]


class OnDrift(Spec):
    """Scores, or inputs, have moved. Inputs alone are a poor reason: in August temperatures move and AUC does not."""

    kind: Literal["drift"]
    of: Literal["score", "features"] = "score"


class OnVolume(Spec):
    """So many predictions were answered in the window."""

    kind: Literal["volume"]
    rows: int = Field(ge=1)


Trigger = Annotated[OnQuality | OnDrift | OnVolume, Field(discriminator="kind")]


class TriggersSpec(Spec):
    """What starts a retraining."""

    any_of: tuple[Trigger, ...] = (OnQuality(kind="quality"), OnDrift(kind="drift", of="score"))
    cooldown: Duration = timedelta(days=1)
    """After a retraining was started, none is started for so long."""
