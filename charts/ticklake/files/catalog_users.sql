-- The catalog's database, its users and their rights. Run at every start: all of it may be there already.
\getenv owner_password OWNER_PASSWORD
\getenv writer_password WRITER_PASSWORD
\getenv reader_password READER_PASSWORD
SET password_encryption = 'scram-sha-256';

SELECT 'CREATE DATABASE catalog' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'catalog') \gexec
SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['ticklake-writer', 'ticklake-reader']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE postgres PASSWORD :'owner_password';
ALTER ROLE "ticklake-writer" LOGIN PASSWORD :'writer_password';
ALTER ROLE "ticklake-reader" LOGIN PASSWORD :'reader_password';

REVOKE ALL ON DATABASE catalog FROM PUBLIC;
GRANT CONNECT ON DATABASE catalog TO "ticklake-writer", "ticklake-reader";

\connect catalog
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO "ticklake-writer";
GRANT USAGE ON SCHEMA public TO "ticklake-reader";
-- What the writer creates from now on, and what is there.
ALTER DEFAULT PRIVILEGES FOR ROLE "ticklake-writer" IN SCHEMA public GRANT SELECT ON TABLES TO "ticklake-reader";
GRANT SELECT ON ALL TABLES IN SCHEMA public TO "ticklake-reader";
