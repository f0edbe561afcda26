"""Makes the tiny model that comes with py-tabbyapi, from nothing but the text files in data/.

The steps, in the order in which data flows: lexicon (words) and qa (questions and answers) feed
the skills (recall, rules, tool_use, extraction); generator mixes these into conversations;
render and tokenizer turn them into token ids; model and train learn; export writes GGUF;
evaluate asks what was held back. `python -m demo_model --help` lists the commands.
"""
