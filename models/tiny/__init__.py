"""The recipe of the model `actionvm-tiny`: its data, its tokenizer, its training."""
