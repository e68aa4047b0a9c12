//! What Kafka may answer in the middle of it.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::{
    broker::Broker,
    stories,
    world::{Clerk, SUBJECTS, TestDb},
};

stories!(sqlite, sqlite, kafka:
    what_fails_in_the_middle_is_sent_again_in_order,
    a_commit_that_fails_does_no_harm,
    a_topic_holds_an_entity_in_one_partition_as_a_cloud_event
);

const BOOKS: &str = "office.books";

impl Broker {
    fn answers(&self, to: RDKafkaApiKey, errors: &[RDKafkaRespErr]) {
        let Broker::Kafka(kafka) = self else { panic!("there is no Kafka") };
        kafka.0.request_errors(to, errors);
    }
}

async fn what_fails_in_the_middle_is_sent_again_in_order(test: TestDb) {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as REFUSED, RD_KAFKA_RESP_ERR_NO_ERROR as GOOD,
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as FEW, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as LATE,
    };
    let process = test.process([Clerk::new(BOOKS, &test.office)]).await;
    test.announce_each(&SUBJECTS, 1..=1).await;
    test.heard(BOOKS, "mug", 1).await;
    test.broker.answers(RDKafkaApiKey::Produce, &[GOOD, LATE, FEW, REFUSED, GOOD, REFUSED, LATE, REFUSED]);

    test.announce_each(&SUBJECTS, 2..=12).await;

    for subject in SUBJECTS {
        test.heard(BOOKS, subject, 12).await;
    }
    test.sent().await;
    process.end().await;
}

async fn a_commit_that_fails_does_no_harm(test: TestDb) {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR as MOVED, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as LATE,
    };
    let first = test.process([Clerk::new(BOOKS, &test.office)]).await;
    test.broker.answers(RDKafkaApiKey::OffsetCommit, &[MOVED, LATE, MOVED]);
    test.announce_each(&SUBJECTS, 1..=3).await;
    test.heard(BOOKS, "mug", 3).await;
    first.end().await;

    let second = test.process([Clerk::new(BOOKS, &test.office)]).await;
    test.announce_each(&SUBJECTS, 4..=5).await;

    for subject in SUBJECTS {
        test.heard(BOOKS, subject, 5).await;
    }
    second.end().await;
}

async fn a_topic_holds_an_entity_in_one_partition_as_a_cloud_event(test: TestDb) {
    use rdkafka::{
        ClientConfig, Message,
        consumer::{Consumer, StreamConsumer},
        message::Headers,
    };
    let shop = test.process([]).await;
    let id = test.announce("mug", 1).await;
    test.announce("mug", 2).await;
    test.sent().await;

    // As another team would.
    let Broker::Kafka(kafka) = &test.broker else { panic!("there is no Kafka") };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.0.bootstrap_servers()).set("group.id", "accounting");
    let reader: StreamConsumer = config.set("auto.offset.reset", "earliest").create().unwrap();
    reader.subscribe(&["carmel.shop"]).unwrap();
    let (first, second) = (reader.recv().await.unwrap(), reader.recv().await.unwrap());

    assert_eq!(first.partition(), second.partition());
    assert_eq!(first.key(), Some("mug".as_bytes()));
    let kind = first.headers().unwrap().get_as::<str>(0).unwrap();
    assert_eq!(kind.key, "content-type");
    assert_eq!(kind.value, Some("application/cloudevents+json; charset=UTF-8"));
    let event: serde_json::Value = serde_json::from_slice(first.payload().unwrap()).unwrap();
    assert_eq!((&event["specversion"], &event["type"]), (&"1.0".into(), &"shop.sold".into()));
    assert_eq!((&event["id"], &event["data"]["subject"]), (&id.to_string().into(), &"mug".into()));
    shop.end().await;
}
