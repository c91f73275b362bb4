-- Runs first in a transaction of this package's own; locks nothing.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
