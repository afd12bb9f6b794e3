"""Forms of a deployment's page."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from analysis.acknowledging import CannotAcknowledge
from analysis.models import DeploymentVerdict, Feedback, What
from common.validation import validation_error
from dashboard.labels import VERDICTS
from dashboard.policies.form import PolicyForm

RIGHT, WRONG = "right", "wrong"


class FeedbackForm(forms.Form):
    """Mark a verdict right or wrong, and name the right one."""

    mark = forms.ChoiceField(
        label=_("This verdict is"), choices=[(RIGHT, _("Right")), (WRONG, _("Wrong"))], widget=forms.RadioSelect
    )
    should_have_been = forms.ChoiceField(label=_("It should have been"), required=False)
    reason = forms.CharField(
        label=_("Reason"), required=False, max_length=500, widget=forms.Textarea({"rows": 2, "maxlength": 500})
    )
    # The verdict that the page showed: it may be revised before the form is submitted.
    seen = forms.CharField(required=False, max_length=40, widget=forms.HiddenInput)

    def __init__(self, verdict: DeploymentVerdict, data: Any = None, *, ignored: str = "") -> None:
        """ignored: the reason of an acknowledgement that ignores the verdict, which suggests that it is wrong."""
        feedback: Feedback | None = getattr(verdict, "feedback", None)
        known = {"mark": WRONG, "reason": ignored} if ignored else {}
        if feedback is not None:
            known = {
                "mark": RIGHT if feedback.right else WRONG,
                "should_have_been": feedback.should_have_been,
                "reason": feedback.reason,
            }
        super().__init__(data, initial={**known, "seen": verdict.verdict}, prefix="feedback")
        self.verdict = verdict
        others = [(name, status.label) for name, status in VERDICTS.items() if name != verdict.verdict]
        field: Any = self.fields["should_have_been"]
        field.choices = [("", _("I cannot say")), *others]

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("seen") not in ("", None, self.verdict.verdict):
            self.refuse_revised()
        return self.cleaned_data

    def refuse_revised(self) -> None:
        """Report that the verdict was revised meanwhile."""
        self.add_error("mark", _("The verdict was revised meanwhile. Look at it again, then mark it."))

    def values(self) -> dict[str, Any]:
        """Return the arguments of analysis.services.give_feedback."""
        data = self.cleaned_data
        return {
            "right": data["mark"] == RIGHT,
            "reason": data["reason"],
            "should_have_been": data["should_have_been"],
        }


class AcknowledgeForm(forms.Form):
    """Say that one is on it, rolled back, or ignores the verdict; which of them, the button says."""

    what = forms.ChoiceField(choices=What.choices)
    reason = forms.CharField(
        label=_("Note"),
        required=False,
        max_length=500,
        help_text=_("Others will read it. Needed to ignore the verdict."),
        widget=forms.TextInput({"maxlength": 500, "autocomplete": "off"}),
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, prefix="ack")

    def refuse(self, error: CannotAcknowledge) -> None:
        """Show why it is not kept: at the field that can be seen."""
        self.add_error("reason", validation_error(error))


class ReplayForm(PolicyForm):
    """A policy to replay on one deployment, without fields about future verdicts."""

    def __init__(self, stored: Mapping[str, Any], data: Any = None) -> None:
        super().__init__(stored, data, baseline_interval_s=None, version=0)
        for name in ("seen", "baseline_interval_s", "shadow"):
            del self.fields[name]
