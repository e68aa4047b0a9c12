FROM carmel-test/servers
RUN mkdir /data && chown redis:redis /data
WORKDIR /data
EXPOSE 6379
# The real one is built to answer other containers without a password, too.
ENTRYPOINT ["sh", "-c", "exec setpriv --reuid=redis --regid=redis --clear-groups \"$@\" --protected-mode no", "sh"]
CMD ["redis-server"]
