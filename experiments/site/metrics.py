"""The page of every metric: what it is from the metric itself, its formula from the table below."""

from __future__ import annotations

from dametric.metrics import METRICS, Metric
from dametric.scoring.request import STUDENT_METRICS, TEACHER_METRICS

_USUAL, _STUDENT = (", ".join(f"`{name}`" for name in names) for names in (TEACHER_METRICS, STUDENT_METRICS))
OPENING = rf"""# Metrics

Every metric of `dametric ls metrics`. The *direction* is which values make better students, stated before any result
was seen; *open* where nothing was stated. Without `--metric`, a score has {_USUAL},
and with a student {_STUDENT} too. All others are computed where they are asked for by name, or by
`--metric all`, which leaves out what cannot be computed and prints the reason. Scores that are read at a *warm student*
(`grad_align`, `ridge_student`, `branch_loss`) have [a page of their own](warm-student.md).

In the formulas, $`r`$ and $`a`$ are the teacher's probabilities on the base view and on the augmented view of an image,
$`u = w r + (1 - w) a`$ with $`w = 1/2`$, $`s`$ are the student's probabilities on the augmented view, $`C`$ is the
number of classes, $`H`$ the entropy in nats, $`E`$ the mean over images. $`t`$ is the label as a distribution: of a
mixed image $`\lambda`$ times its own and $`1 - \lambda`$ times its partner's."""

NEEDS = {
    "raw": "base views (their rows are forwarded too)",
    "student": "a student",
    "labels": "labels",
    "mixing": "an augmentation that mixes images",
    "next_partner": "images mixed with the next one of the batch, if at all",
    "held_out": "held-out images",
}

FORMULAS = {
    "t_stddev": (
        r"\frac{1}{C} \sum_c T_c, \qquad T_c^2 = \operatorname{Var}\left( \text{mean of } u_c "
        r"\text{ over a draw} \right)"
    ),
    "t_stddev_rms": r"\left( \frac{1}{C} \sum_c T_c^2 \right)^{1/2}",
    "t_stddev_aug": r"\frac{1}{C} \sum_c T_c \quad \text{with } w = 0",
    "t_entropy": r"E\, H(a) = E \left[ - \sum_c a_c \log a_c \right]",
    "t_gini": r"1 - E \sum_c a_c^2",
    "t_conf": r"E \max_c a_c",
    "information_kept": r"\frac{H(E a) - E H(a)}{H(E r) - E H(r)}",
    "t_consistency": r"E \left[ H\left( \frac{r + a}{2} \right) - \frac{H(r) + H(a)}{2} \right]",
    "t_agree": r"P\left( \arg\max_c r_c = \arg\max_c a_c \right)",
    "t_ei": r"E \left[ \sqrt{\max_c r_c \max_c a_c} \; ; \; \arg\max_c r_c = \arg\max_c a_c \right]",
    "t_nll": r"E \left[ - \sum_c t_c \log a_c \right]",
    "t_brier": r"E \sum_c (a_c - t_c)^2",
    "t_ece": r"\sum_{k=1}^{15} P(\text{bin } k) \left| \text{accuracy}_k - \text{confidence}_k \right|",
    "t_cmi": r"E_y E\, \mathrm{KL}(a \,\|\, Q_y), \qquad Q_y = E[a \mid y]",
    "order_violation": r"P\left( \text{no label of the image is among the two largest } a_c \right)",
    "mix_gap": r"E \left\| a - \left( \lambda r_i + (1 - \lambda) r_j \right) \right\|_1",
    "t_cov_rows": r"\text{mean entry of } \operatorname{Cov}(\text{rows of a batch}), \text{ over classes}",
    "t_cov_classes": r"\text{mean entry of } \operatorname{Cov}(\text{classes}), \text{ over rows of a batch}",
    "t_var_label": r"\frac{E[z_{ij} \cdot z_{lk} \mid i, l \text{ of one class}] - |E z|^2}{n \sum_c T_c^2}",
    "t_var_image": (
        r"\frac{E[z_{ij} \cdot z_{ik}] - E[z_{ij} \cdot z_{lk} \mid i, l \text{ of one class}]}{n "
        r"\sum_c T_c^2}"
    ),
    "t_var_aug": r"\frac{\text{half the (long-run) variance of } u_{ij} - u_{ik}}{n \sum_c T_c^2}",
    "t_var_shared": (
        r"\frac{\frac{b}{2} E \left| \bar u_j - \bar u_k \right|^2}{n \sum_c T_c^2} "
        r"- \text{share of what is drawn for an image}"
    ),
    "t_confidence": r"\kappa = \sqrt{ \frac{E |r|^2 - |E r|^2}{1 - |E r|^2} }",
    "affinity_acc": r"\frac{\text{accuracy on augmented held-out images}}{\text{accuracy on clean held-out images}}",
    "affinity_loss": (
        r"A = E \left[ - \sum_c t_c \log a_c \right] - E \left[ - \sum_c t_c \log r_c \right] "
        r"\quad \text{on held-out images}"
    ),
    "div_aff": (
        r"\log D - A, \qquad D = E \left[ H\left( \tfrac{1}{4} \sum_{j=1}^{4} a_j \right) - "
        r"\tfrac{1}{4} \sum_{j=1}^{4} H(a_j) \right]"
    ),
    "ce_mean": r"E\, q(x'), \qquad q(x') = - \sum_c a_c \log s_c",
    "ce_std": r"\sqrt{\operatorname{Var} q(x')}",
    "ce_cov": (
        r"\operatorname{Cov}\left( q(x), q(x') \right) + \tfrac{1}{2} \left( b "
        r"\operatorname{Var}(\text{batch mean of } q(x')) - \operatorname{Var} q(x') \right)"
    ),
    "ce_std_within": r"\sqrt{\mathrm{MSW}} \quad \text{of } q(x') \text{, within images of } J \text{ views each}",
    "ce_std_between": (
        r"\sqrt{(\mathrm{MSB} - \mathrm{MSW}) / J} \quad \text{of } q(x') \text{, between images "
        r"of } J \text{ views each}"
    ),
    "ts_gap": r"E \sum_c t_c \left( \log a_c - \log s_c \right)",
    "ts_kl": r"E\, \mathrm{KL}(a \,\|\, s)",
    "ts_useful": r"E \left[ \mathrm{KL}(a \,\|\, s) \left( 1 - \frac{H(a)}{\log C} \right) \right]",
}
"""By name, in LaTeX; a test holds that every metric has one."""
NOTES = {
    "t_stddev": "[The derivation](estimators.md).",
    "information_kept": "Below 0.25 a row is marked as destroyed and never recommended.",
    "t_cmi": "A mixed image counts in both its classes by its shares.",
    "t_confidence": "It stands under every table: 1 for any one-hot teacher.",
    "t_var_shared": (
        "Only where a batch shares parameters, else 0. The four shares of `t_var_split` add up to 1; $`z`$ is "
        "[defined there](estimators.md#other-metrics)."
    ),
}


def page() -> str:
    """The page, a section for each metric."""
    return "\n\n".join([OPENING, *(_section(metric) for metric in METRICS.values())]) + "\n"


def _section(metric: Metric) -> str:
    words = metric.summary.replace("<", "&lt;")
    needs = ", ".join(NEEDS[need] for need in NEEDS if need in metric.needs) or "the teacher alone"
    views = f", {metric.views} views of each image" if metric.views > 1 else ""
    rows = [f"| {metric.direction} | {needs}{views} | {metric.reference} |"]
    table = "\n".join(["| direction | needs | source |", "|---|---|---|", *rows])
    note = [NOTES[metric.name]] if metric.name in NOTES else []
    text = (
        f"{words}." if "_" in words.partition(" ")[0] else f"{words[0].upper()}{words[1:]}."
    )  # no name gets a capital
    return "\n\n".join([f"## {metric.name}", text, f"```math\n{FORMULAS[metric.name]}\n```", table, *note])
