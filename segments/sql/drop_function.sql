-- Runs for drop_segments; AccessExclusive on the function. Refused while others use it.
DROP FUNCTION IF EXISTS {function} {arguments}
