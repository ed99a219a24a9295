"""A place where people give preferences: a web application on one's own machine, and its store of answers.

`valuegym label` makes a study, invites people, serves the pages and exports the answers; `annotator.LabelAnnotator` is
the annotator of a run that trains meanwhile. Modules:

    study      the parameters and texts of a study, in the file study.json of its folder
    store      people, pairs and answers in SQLite; what is acknowledged is on the disk
    films      pictures of segments: looping films and stills
    pool       segments and pairs, from fresh rollouts or from a file of preferences
    play       the environment in the hands of a person
    learner    which pair to query next, and what has been learnt; `worker` fits it in a process of its own
    app        the pages; `server` serves them
    export     answers in the suite's formats
    annotator  people as the annotator of `PreferenceFeedback`

Only `app`, `server` and `films` need the extra `label`.
"""
