-- Part of the view that create_trial_view.sql makes to price a definition.
SELECT {function}() AS plan
