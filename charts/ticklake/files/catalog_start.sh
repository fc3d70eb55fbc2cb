#!/bin/sh
# Starts the catalog's PostgreSQL: data in $PGDATA, socket in $PGHOST, further options as arguments. Database, users, rights
# and passwords are laid down at every start, so that a volume which is there already gets what the Secrets hold now; only
# then does the server listen to others.
set -eu
here=$(dirname "$0")

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # Under another name first: half a database is not taken for one.
    rm -rf "$PGDATA.new"
    initdb --pgdata="$PGDATA.new" --username=postgres --auth-local=trust --auth-host=reject \
        --encoding=UTF8 --no-locale --data-checksums
    mv "$PGDATA.new" "$PGDATA"
fi
# Kubernetes may give the volume's group more rights than the server takes.
chmod 0700 "$PGDATA"
# The socket is this pod's alone; from elsewhere nobody comes in without a password, and to this database only.
printf '%s\n' 'local all all trust' 'host catalog all all scram-sha-256' > "$PGDATA/pg_hba.conf"

# After a crash it first reads back its log, which may take a while.
pg_ctl start --wait --timeout=600 --options="-c listen_addresses='' -c unix_socket_directories='$PGHOST'"
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres --file="$here/users.sql"
pg_ctl stop --wait --mode=fast

unset OWNER_PASSWORD WRITER_PASSWORD READER_PASSWORD
exec postgres -c listen_addresses='*' -c unix_socket_directories="$PGHOST" "$@"
