"""What browsers show: one module per page, drawn with NiceGUI, which only these modules and ``server`` import.

Text from documents goes into labels and table cells, which escape it; no page uses ``ui.html`` or ``ui.markdown``.
"""
