"""All tasks, by name, in the order of the contract."""

from service.tasks import classification, embedding, event, ner, qa, relation, sentiment, similarity
from service.tasks.task import Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        ner.TASK,
        relation.TASK,
        event.TASK,
        sentiment.TASK,
        classification.TASK,
        qa.TASK,
        embedding.TASK,
        similarity.TASK,
    )
}
