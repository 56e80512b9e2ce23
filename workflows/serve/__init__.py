"""A page to look at campaigns, labels and models while they grow: ``spinmultinet serve``.

What is shown is gathered by modules that know no browser (``places``, ``overview``, ``table``, ``structure``,
``sites``, ``model_rows``, ``parity``, ``queue``); ``pages`` draws it. Only ``pages``, ``api`` and ``server`` import
NiceGUI, and nothing imports them but the command, once it knows that NiceGUI is installed.
"""
