"""The known word that somebody meant: another spelling, another tool's name for it, or a typo."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

#: What the users of other tools, and formulas, call things here: options, then values. Spelled as
#: :func:`plain` spells them. Of two options that a word can mean, the first is meant.
SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "dataset": ("benchmark", "stream", "data", "taskstream"),
        "method": ("strategy", "strategies", "algorithm", "approach", "learner", "agent"),
        "scenario": ("setting", "incremental"),
        "seed": ("randomseed", "randomstate", "rng"),
        "tasks": ("experiences", "ntasks", "contexts"),
        "network": ("model", "net", "backbone", "architecture", "arch"),
        "optimizer": ("optimiser", "opt"),
        "lr": ("learningrate", "stepsize"),
        "weight_decay": ("wd", "l2"),
        "momentum": ("mom",),
        "batch_size": ("bs", "minibatchsize", "trainmbsize", "trainbatchsize"),
        "iterations": ("iters", "iter", "niters", "steps", "maxsteps"),
        "epochs": ("trainepochs",),
        "hidden": ("hiddensizes", "hiddenunits", "hiddendims"),
        "widths": ("hiddensizes", "hiddenunits", "hiddendims", "layersizes", "units", "layers"),
        "buffer_size": ("memorysize", "memsize", "buffer", "replaysize", "budgetsize"),
        "per_class": ("memoryperclass", "exemplarsperclass"),
        "replay_batch": ("replaybatchsize", "minibatchsizemem", "batchsizemem"),
        "freeze_depth": ("latentlayer", "latentlayernum", "frozenblocks", "frozenlayers"),
        "strength": ("lambda", "ewclambda", "elambda", "importance", "reglambda", "λ", "c"),
        "damping": ("xi", "ξ"),
        "weight": ("lambda", "reglambda", "λ"),
        "importance": ("lambda", "reglambda", "λ"),
        "distillation": ("lambda", "reglambda", "λ"),
        "margin": ("memorystrength",),
        "temperature": ("t",),
        "samples_per_class": ("samples",),
        "sample_size": ("samples",),
        "fisher_samples": ("samples",),
        "validation": ("valsplit", "validationsplit", "valshare", "valfraction"),
        "resources": ("resourcespertrial",),
        "cpus": ("numcpus", "threads"),
        "gpus": ("numgpus",),
        "naive": ("finetune", "finetuning", "sequential", "sgdonly", "none"),
        "replay": ("er", "experiencereplay"),
        "joint": ("offline", "cumulative", "jointtraining", "iid", "multitask"),
        "latent-replay": ("ar1",),
        "class-incremental": ("classil", "cil", "ci", "nc", "newclasses"),
        "domain-incremental": ("domainil", "dil", "di", "ni", "newinstances"),
        "task-incremental": ("taskil", "til", "ti", "multihead"),
        "class-balanced": ("balanced", "classbalance"),
        "gmm": ("mixture", "gaussianmixture"),
    }
)

#: What counts things in the names that other tools give to options.
_COUNTS = re.compile(r"^(n|num|nb|number_of|max)[_-](?=\w)")
#: Letters of a word that is compared with known ones.
_LONGEST = 100
#: Letters of the longer of two words for each of which one may differ.
_LETTERS_PER_TYPO = 3
_MOST_TYPOS = 3


def plain(word: str) -> str:
    """Return a word without what only spells it differently: ``batchSize`` is ``batch-size``."""
    return re.sub(r"[\W_]+", "", word).casefold()


def nearest(word: object, known: Iterable[str]) -> str | None:
    """Return the known word that was most likely meant.

    In this order: the same letters in another spelling; what another tool calls it; the word with
    few typos; the only one that begins with it.

    Examples
    --------
    >>> nearest("batchSize", ["batch_size", "epochs"]), nearest("sgdd", ["adam", "sgd"])
    ('batch_size', 'sgd')
    """
    text = str(word)
    if text in (words := sorted(set(known))):
        return text
    return misspelt(text, words) or _begun(text, words)


def misspelt(word: object, known: Iterable[str]) -> str | None:
    """Return the known word that was meant as a whole, as :func:`nearest` but for beginnings."""
    words = sorted(set(known))
    return alike(word, words) or _typo(str(word), words)


def alike(word: object, known: Iterable[str]) -> str | None:
    """Return the known word that is surely meant: the same one spelled otherwise, or a synonym."""
    words = sorted(set(known))
    return _same(str(word), words) or _synonym(str(word), words)


def distance(first: str, second: str) -> int:
    """Count the letters to insert, drop, replace or swap with the next that make one of the other.

    The optimal string alignment distance: no letter is edited twice.
    """
    before, last = [0] * (len(second) + 1), list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        row = [i]
        for j, b in enumerate(second, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def _same(word: str, known: list[str]) -> str | None:
    """Return the word of the same letters, but for a plural and for what counts things."""
    forms = [plain(word), plain(_COUNTS.sub("", word))]
    forms += [f"{form}s" for form in forms] + [form.removesuffix("s") for form in forms]
    for form in forms:
        for candidate in known:
            if form and plain(candidate) == form:
                return candidate
    return None


def _synonym(word: str, known: list[str]) -> str | None:
    forms = {plain(word), plain(_COUNTS.sub("", word))}
    forms |= {form.removesuffix("s") for form in forms}
    return next((key for key, words in SYNONYMS.items() if key in known and forms & {*words}), None)


def _typo(word: str, known: list[str]) -> str | None:
    """Return the word of the fewest typos; of several, that of the fewest letters not typed."""
    wanted = plain(word)
    if not 1 <= len(wanted) <= _LONGEST:
        return None
    found = []
    for candidate in known:
        form = plain(candidate)
        most = min(_MOST_TYPOS, max(1, max(len(wanted), len(form)) // _LETTERS_PER_TYPO))
        if form and abs(len(wanted) - len(form)) <= most:
            typos = distance(wanted, form)
            if typos <= most and typos < len(form):
                untyped = (Counter(form) - Counter(wanted)).total()  # none, of a doubled letter
                ends = (wanted[0] != form[0]) + (wanted[-1] != form[-1])
                found.append((typos, untyped, ends, candidate))
    return min(found)[-1] if found else None


def _begun(word: str, known: list[str]) -> str | None:
    """Return the only word that begins with this one, or that this one begins with."""
    wanted = plain(word)
    if len(wanted) < 3:
        return None
    found = [c for c in known if plain(c).startswith(wanted)]
    found = found or [c for c in known if len(plain(c)) >= 3 and wanted.startswith(plain(c))]
    return found[0] if len(found) == 1 else None
