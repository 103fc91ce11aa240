"""The daily report: one HTML page that says what is shared, what changed, what needs a word, and what is not known.

    warehouse --asked.py--> answers --says.py--> what the page says --look.py, charts.py--> HTML --written.py--> files

Not here: the questions (sql/reports/internal/page_*.sql), when the page is written (defs/assets.py).
"""
