"""A word count with Quix Streams, behind `app` of docs/apps.md (apps.py puts that before this)."""

lines = app.topic("lines", value_deserializer="string")
counts = app.topic("counts", value_serializer="string")


def count(word, state):
    """How often there was this word, which is the key, so far."""
    so_far = state.get("count", 0) + 1
    state.set("count", so_far)
    return str(so_far)


words = app.dataframe(lines).apply(lambda line: line.split(" "), expand=True)
counted = words.group_by(lambda word: word, name="words").apply(count, stateful=True)
counted.to_topic(counts)

app.run()
