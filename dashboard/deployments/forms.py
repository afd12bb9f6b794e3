"""What people fill in on a deployment's page."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from analysis.models import DeploymentVerdict, Feedback
from dashboard.words import VERDICTS

RIGHT, WRONG = "right", "wrong"


class FeedbackForm(forms.Form):
    """Whether a verdict was right, and which one it should have been."""

    mark = forms.ChoiceField(
        label=_("This verdict is"), choices=[(RIGHT, _("Right")), (WRONG, _("Wrong"))], widget=forms.RadioSelect
    )
    should_have_been = forms.ChoiceField(label=_("It should have been"), required=False)
    reason = forms.CharField(
        label=_("Reason"), required=False, max_length=500, widget=forms.Textarea({"rows": 2, "maxlength": 500})
    )

    def __init__(self, verdict: DeploymentVerdict, data: Any = None) -> None:
        feedback: Feedback | None = getattr(verdict, "feedback", None)
        known = {}
        if feedback is not None:
            known = {
                "mark": RIGHT if feedback.right else WRONG,
                "should_have_been": feedback.should_have_been,
                "reason": feedback.reason,
            }
        super().__init__(data, initial=known, prefix="feedback")
        others = [(name, status.label) for name, status in VERDICTS.items() if name != verdict.verdict]
        field: Any = self.fields["should_have_been"]
        field.choices = [("", _("I cannot say")), *others]

    def values(self) -> dict[str, Any]:
        """As analysis.services.give_feedback takes them."""
        data = self.cleaned_data
        return {
            "right": data["mark"] == RIGHT,
            "reason": data["reason"],
            "should_have_been": data["should_have_been"],
        }
