"""The doctor: finds out why configuration is not what it should be, and says what to do.

`findings` runs every check of `checks.CHECKS` on an `Examination`, which is everything that was found out about one
configuration without changing it.
"""
