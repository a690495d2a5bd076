"""Build it alone: a package of the learner's own, checked part by part until it translates.

``python -m transformer_lib.capstone new FOLDER`` writes the empty package, ``check FOLDER`` says how far it is.
"""
