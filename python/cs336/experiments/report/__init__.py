"""The report: every experiment of the write-up, run, kept, and bound into one page. In reading order:

plan      what is asked for: corpora, sizes, how much time may go into it
part      what a part of the report is: what it measures, and the answer that its tables give
parts     the parts, one a file, in the write-up's order
record    what a part has measured, as a file, and whether it still holds
engine    running what does not stand there yet; a part that fails loses no other
page      HTML and Markdown
"""
