FROM carmel-test/servers
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PGDATA=/var/lib/postgresql/data
RUN rm -rf /var/lib/postgresql/15 /etc/postgresql/15 \
    && mkdir -p "$PGDATA" /docker-entrypoint-initdb.d \
    && chown postgres:postgres "$PGDATA" && chmod 1777 "$PGDATA" \
    && install -d -o postgres -g postgres -m 3777 /var/run/postgresql
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "/usr/local/bin/docker-entrypoint.sh"]
CMD ["postgres"]
