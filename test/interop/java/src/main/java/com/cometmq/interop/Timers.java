package com.cometmq.interop;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.protocol.ResponseCode;

/** Delivery at any time, which a 4.9 client asks for with the properties that 5.x clients set. */
final class Timers {
    private Timers() {
    }

    /** Each arrives once and not before its time, and is found by its key and its id then. */
    static void anyTime(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        p.send(new Message(topic, Lines.utf8("creates the topic")));
        Map<String, Long> due = new ConcurrentHashMap<>();
        Map<String, Integer> seen = new ConcurrentHashMap<>();
        CountDownLatch all = new CountDownLatch(21);
        DefaultMQPushConsumer c = Scenarios.consumer(namesrv, "c_" + topic, "c_" + topic);
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            for (MessageExt m : msgs) {
                String body = new String(m.getBody());
                Long at = due.get(body);
                // Store times are the group's, in whole milliseconds.
                Scenarios.check(at == null || m.getStoreTimestamp() >= at - 1, body + " came early by " + (at == null ? 0 : at - m.getStoreTimestamp()));
                if (seen.merge(body, 1, Integer::sum) == 1) {
                    all.countDown();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        SendResult last = null;
        for (int i = 0; i < 20; i++) {
            Message m = new Message(topic, "T", "key" + i, Lines.utf8("m" + i));
            long now = System.currentTimeMillis();
            long delay = 500 + 150L * (i * 7 % 20);
            due.put("m" + i, now + delay);
            if (i % 2 == 0) {
                m.putUserProperty("TIMER_DELIVER_MS", String.valueOf(now + delay));
            } else {
                m.putUserProperty("TIMER_DELAY_MS", String.valueOf(delay));
            }
            last = p.send(m);
        }
        Scenarios.await(all, 60, "timed messages");
        Scenarios.check(seen.values().stream().allMatch(n -> n == 1), "some came twice: " + seen);
        QueryResult found = p.queryMessage(topic, "key19", 32, 0, System.currentTimeMillis() + 3600_000);
        List<String> bodies = found.getMessageList().stream().map(m -> new String(m.getBody())).collect(Collectors.toList());
        Scenarios.check(bodies.equals(java.util.Collections.singletonList("m19")), "key19 finds " + bodies);
        MessageExt byId = p.viewMessage(topic, last.getMsgId());
        Scenarios.check(new String(byId.getBody()).equals("m19") && byId.getTopic().equals(topic), "" + byId);

        Message far = new Message(topic, Lines.utf8("too far"));
        far.putUserProperty("TIMER_DELAY_SEC", String.valueOf(3 * 24 * 3600 + 60));
        try {
            p.send(far);
            throw new IllegalStateException("a delay beyond three days was taken");
        } catch (MQBrokerException e) {
            Scenarios.check(e.getResponseCode() == ResponseCode.MESSAGE_ILLEGAL, "" + e);
        }
        c.shutdown();
        p.shutdown();
    }
}
