-- Once, on the first primary, as its superuser: the role by which each server asks the other, copies and rewinds.
CREATE ROLE roost LOGIN REPLICATION;
GRANT pg_monitor, pg_checkpoint TO roost;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO roost;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO roost;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO roost;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO roost;
