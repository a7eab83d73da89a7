"""Our tokenizer as `tokenizer.json`, from which `transformers`, vLLM and others read the very ids that SentencePiece gives.

SentencePiece joins the two neighbours whose piece has the best score; here that order becomes a list of merges. Where
`transformers` 5 has `tokenizer.model` alone, it gives other ids to texts with a space in front or a line break inside.
"""

from pathlib import Path
from typing import Any

SPACE = "▁"


def hf_tokenizer(path: Path | str) -> dict[str, Any]:
    """`tokenizer.json` of a SentencePiece BPE model, `<s>` in front of every text."""
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(path))
    pieces = [model.id_to_piece(id) for id in range(model.vocab_size())]
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    scores = {
        piece: model.get_score(id)
        for piece, id in vocabulary.items()
        if not (model.is_control(id) or model.is_unknown(id) or model.is_byte(id))
    }
    special = [id for id in range(len(pieces)) if model.is_control(id) or model.is_unknown(id)]
    begin = pieces[model.bos_id()]
    prefixed = model.encode_as_pieces("a")[0].startswith(SPACE)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(id, pieces[id]) for id in special],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": SPACE}] * prefixed + [_replace(" ", SPACE)],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [_template("SpecialToken", begin, 0), _template("Sequence", "A", 0)],
            "pair": [_template("SpecialToken", begin, 0), _template("Sequence", "A", 0),
                     _template("SpecialToken", begin, 1), _template("Sequence", "B", 1)],
            "special_tokens": {begin: {"id": begin, "ids": [model.bos_id()], "tokens": [begin]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
            + [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] * prefixed,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": pieces[model.unk_id()],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": any(map(model.is_byte, range(len(pieces)))),
            "vocab": vocabulary,
            "merges": _merges(scores, vocabulary),
        },
    }  # fmt: skip


def _merges(scores: dict[str, float], ids: dict[str, int]) -> list[list[str]]:
    """Every pair of pieces that joins to a piece, the best piece first."""
    pairs = [
        (-scores[piece], ids[piece[:at]], ids[piece[at:]], [piece[:at], piece[at:]])
        for piece in scores
        for at in range(1, len(piece))
        if piece[:at] in scores and piece[at:] in scores
    ]
    return [pair for *_, pair in sorted(pairs, key=lambda found: found[:3])]


def _special(id: int, text: str) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": id, "content": text, "special": True, **plain}


def _replace(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def _template(kind: str, id: str, segment: int) -> dict[str, Any]:
    return {kind: {"id": id, "type_id": segment}}
