"""Flask around ModelScope's pipeline, one text a call, no batching: the guide's application, and the gthread row.

MODEL names the checkpoint. The application loads it when it is imported, as the guide's does.
"""

import os
from typing import Any

from flask import Flask, jsonify, request
from modelscope.pipelines import pipeline

app = Flask(__name__)
_pipeline = pipeline("sentence-embedding", model=os.environ["MODEL"], sequence_length=512, device="cpu")


@app.post("/embeddings")
def embeddings() -> Any:
    """The vector of one text."""
    vectors = _pipeline({"source_sentence": [request.get_json()["input"]]})["text_embedding"]
    return jsonify(data=[{"embedding": vectors[0].tolist()}])


@app.get("/health")
def health() -> Any:
    """Alive."""
    return jsonify(status="ok")
