-- Runs for drop_segments, and where the key of the user model has another type; AccessExclusive on the function. Refused while others use it.
DROP FUNCTION IF EXISTS {function} {arguments}
