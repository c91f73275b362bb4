-- Runs when a definition is priced; AccessShare on the view that holds its plan.
SELECT plan FROM {view}
