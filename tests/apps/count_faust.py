"""A word count with Faust, behind `app` of docs/apps.md (apps.py puts that before this)."""


class Word(faust.Record):
    """What goes through the repartition topic."""

    word: str


lines = app.topic("lines", value_type=str, value_serializer="raw")
words = app.topic(
    "wordcount-words-repartition", key_type=str, value_type=Word, partitions=3, internal=True
)
counts = app.topic("counts", key_type=str, value_type=str, value_serializer="raw")
table = app.Table("counts", default=int, partitions=3)


@app.agent(lines)
async def split(stream):
    """Each word by itself."""
    async for line in stream:
        for word in line.split(" "):
            await words.send(key=word, value=Word(word=word))


@app.agent(words)
async def count(stream):
    """How often there was each word so far."""
    async for event in stream:
        table[event.word] += 1
        await counts.send(key=event.word, value=str(table[event.word]))


if __name__ == "__main__":
    app.main()
