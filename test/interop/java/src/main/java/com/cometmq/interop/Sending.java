package com.cometmq.interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.protocol.ResponseCode;
import org.apache.rocketmq.remoting.exception.RemotingException;

/** Producers' capabilities; see Scenarios. */
final class Sending {
    private Sending() {
    }

    /** Arguments: name server, topic. One of the topic's two brokers hangs; a first send may run into it, later ones may not. */
    static int latency(String[] argv) throws Exception {
        DefaultMQProducer p = new DefaultMQProducer("latency_" + argv[1]);
        p.setNamesrvAddr(argv[0]);
        p.setSendLatencyFaultEnable(true);
        p.setSendMsgTimeout(1000);
        p.start();
        int failed = 0;
        int sent = 0;
        for (int i = 0; i < 60; i++) {
            try {
                Scenarios.check(p.send(new Message(argv[1], Lines.utf8("m" + i))).getSendStatus() == SendStatus.SEND_OK, "status");
                sent++;
            } catch (RemotingException e) {
                failed++;
            }
        }
        p.shutdown();
        System.out.println(sent + " sent, " + failed + " failed");
        return sent >= 55 && failed > 0 ? 0 : 1;
    }

    /** Arguments: name server, topic. Sends for ten seconds; no send may fail although a broker is killed meanwhile. */
    static int failover(String[] argv) throws Exception {
        DefaultMQProducer p = new DefaultMQProducer("failover_" + argv[1]);
        p.setNamesrvAddr(argv[0]);
        p.start();
        long end = System.nanoTime() + 10_000_000_000L;
        int sent = 0;
        Set<String> brokers = new HashSet<>();
        for (; System.nanoTime() < end; sent++) {
            SendResult r = p.send(new Message(argv[1], Lines.utf8("m" + sent)));
            Scenarios.check(r.getSendStatus() == SendStatus.SEND_OK, "" + r);
            brokers.add(r.getMessageQueue().getBrokerName());
            Thread.sleep(10);
        }
        p.shutdown();
        System.out.println(sent + " sent to " + brokers);
        return sent > 100 && brokers.size() == 2 ? 0 : 1;
    }

    /** Offsets of the chosen queue grow by one each, those of the others stay. */
    static void chosenQueue(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        MessageQueue q = p.send(new Message(topic, Lines.utf8("create"))).getMessageQueue();
        Map<MessageQueue, Long> before = new HashMap<>();
        for (MessageQueue each : p.fetchPublishMessageQueues(topic)) {
            before.put(each, p.maxOffset(each));
        }
        for (int i = 0; i < 10; i++) {
            SendResult r = i % 2 == 0 ? p.send(new Message(topic, Lines.utf8("m" + i)), q)
                : p.send(new Message(topic, Lines.utf8("m" + i)), (mqs, m, arg) -> (MessageQueue) arg, q);
            Scenarios.check(r.getMessageQueue().equals(q) && r.getQueueOffset() == before.get(q) + i, "place " + r);
        }
        for (Map.Entry<MessageQueue, Long> e : before.entrySet()) {
            long grown = p.maxOffset(e.getKey()) - e.getValue();
            Scenarios.check(grown == (e.getKey().equals(q) ? 10 : 0), e.getKey() + " grew by " + grown);
        }
        p.shutdown();
    }

    static void waitStoreFlag(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        Message m = new Message(topic, Lines.utf8("x"));
        m.setWaitStoreMsgOK(false);
        SendResult r = p.send(m);
        Scenarios.check(r.getSendStatus() == SendStatus.SEND_OK, "" + r);
        Scenarios.check(p.viewMessage(r.getOffsetMsgId()).getProperty("WAIT") == null, "WAIT is stored");
        p.shutdown();
    }

    /** By offset id, by unique id and by key, what was sent is found. */
    static void queryMessage(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = Scenarios.producer(namesrv, "g_" + topic);
        SendResult r = p.send(new Message(topic, "T", "k1 k2", Lines.utf8("found")));
        p.send(new Message(topic, "T", "k3", Lines.utf8("other")));
        for (String id : Arrays.asList(r.getOffsetMsgId(), r.getMsgId())) {
            MessageExt m = p.viewMessage(topic, id);
            Scenarios.check(new String(m.getBody()).equals("found") && m.getMsgId().equals(r.getMsgId()), id + " is " + m);
        }
        for (String key : Arrays.asList("k1", "k2")) {
            QueryResult found = p.queryMessage(topic, key, 32, System.currentTimeMillis() - 3600_000, System.currentTimeMillis() + 3600_000);
            Scenarios.check(found.getMessageList().size() == 1, key + " finds " + found);
            Scenarios.check(new String(found.getMessageList().get(0).getBody()).equals("found"), "" + found);
        }
        p.shutdown();
    }

    /** Two namespaces with one topic name do not see each other's messages. */
    static void namespaces(String namesrv, String topic) throws Exception {
        List<DefaultMQProducer> producers = new ArrayList<>();
        List<DefaultMQPushConsumer> consumers = new ArrayList<>();
        Map<String, Set<String>> got = new ConcurrentHashMap<>();
        CountDownLatch both = new CountDownLatch(2);
        for (String ns : Arrays.asList("one", "two")) {
            DefaultMQProducer p = new DefaultMQProducer(ns, "g_" + topic);
            p.setNamesrvAddr(namesrv);
            p.setInstanceName(ns + topic);
            p.setSendMsgTimeout(10000);
            p.start();
            SendResult r = p.send(new Message(topic, Lines.utf8("for " + ns)));
            Scenarios.check(r.getMessageQueue().getTopic().equals(topic), "" + r);
            producers.add(p);
            DefaultMQPushConsumer c = new DefaultMQPushConsumer(ns, "c_" + topic);
            c.setNamesrvAddr(namesrv);
            c.setInstanceName("c" + ns + topic);
            c.subscribe(topic, "*");
            c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
                for (MessageExt m : msgs) {
                    Scenarios.check(m.getTopic().equals(topic), "topic seen is " + m.getTopic());
                    if (got.computeIfAbsent(ns, k -> ConcurrentHashMap.newKeySet()).add(new String(m.getBody()))) {
                        both.countDown();
                    }
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            c.start();
            consumers.add(c);
        }
        Scenarios.await(both, 60, "messages of both namespaces");
        for (String ns : got.keySet()) {
            Scenarios.check(got.get(ns).equals(Collections.singleton("for " + ns)), ns + " got " + got.get(ns));
        }
        consumers.forEach(DefaultMQPushConsumer::shutdown);
        producers.forEach(DefaultMQProducer::shutdown);
    }

    /** A topic that a producer in unit mode creates is in the name server's list of unit topics. */
    static void unitMode(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = new DefaultMQProducer("g_" + topic);
        p.setNamesrvAddr(namesrv);
        p.setInstanceName(topic);
        p.setUnitMode(true);
        p.setSendMsgTimeout(10000);
        p.start();
        p.send(new Message(topic, Lines.utf8("x")));
        boolean listed = false;
        for (int i = 0; i < 50 && !listed; i++) {
            listed = p.getDefaultMQProducerImpl().getmQClientFactory().getMQClientAPIImpl().getUnitTopicList(false, 3000).getTopicList().contains(topic);
            if (!listed) {
                Thread.sleep(100);
            }
        }
        Scenarios.check(listed, "not in the list of unit topics");
        p.shutdown();
    }

    /** 4,194,304 bytes are taken, one more is refused with 13, when the client does not look itself. */
    static void bodyLimit(String namesrv, String topic) throws Exception {
        DefaultMQProducer p = new DefaultMQProducer("g_" + topic);
        p.setNamesrvAddr(namesrv);
        p.setInstanceName(topic);
        p.setMaxMessageSize(8 << 20);
        p.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        p.setSendMsgTimeout(10000);
        p.start();
        byte[] body = new byte[4 << 20];
        new Random(1).nextBytes(body);
        SendResult r = p.send(new Message(topic, body));
        Scenarios.check(Arrays.equals(p.viewMessage(r.getOffsetMsgId()).getBody(), body), "body differs");
        try {
            p.send(new Message(topic, new byte[(4 << 20) + 1]));
            Scenarios.check(false, "one byte more was taken");
        } catch (MQBrokerException e) {
            Scenarios.check(e.getResponseCode() == ResponseCode.MESSAGE_ILLEGAL, "" + e);
        }
        Message m = new Message(topic, Lines.utf8("x"));
        char[] value = new char[32768];
        Arrays.fill(value, 'v');
        m.putUserProperty("k", new String(value));
        try {
            p.send(m);
            Scenarios.check(false, "32,768 bytes of properties were taken");
        } catch (MQBrokerException e) {
            Scenarios.check(e.getResponseCode() == ResponseCode.MESSAGE_ILLEGAL, "" + e);
        }
        p.shutdown();
    }

    /** A producer and a consumer that trace leave Pub and Sub records that name the message. */
    static void trace(String namesrv, String topic) throws Exception {
        String traces = "t_" + topic;
        DefaultMQProducer plain = Scenarios.producer(namesrv, "plain_" + topic);
        plain.send(new Message(traces, Lines.utf8("create")));
        plain.send(new Message(topic, Lines.utf8("create")));
        DefaultMQProducer p = new DefaultMQProducer("g_" + topic, true, traces);
        p.setNamesrvAddr(namesrv);
        p.setInstanceName(topic);
        p.start();
        CountDownLatch one = new CountDownLatch(1);
        DefaultMQPushConsumer c = new DefaultMQPushConsumer("c_" + topic, true, traces);
        c.setNamesrvAddr(namesrv);
        c.setInstanceName("c" + topic);
        c.subscribe(topic, "*");
        c.registerMessageListener((MessageListenerConcurrently) (msgs, ctx) -> {
            if (new String(msgs.get(0).getBody()).equals("traced")) {
                one.countDown();
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        c.start();
        String id = p.send(new Message(topic, "T", "key", Lines.utf8("traced"))).getMsgId();
        Scenarios.await(one, 60, "the message");
        awaitRecords(plain, traces, id, "Pub", "SubBefore", "SubAfter");
        c.shutdown();
        p.shutdown();

        // The topic of traces need not be prepared: the first record makes it.
        DefaultMQProducer usual = new DefaultMQProducer("u_" + topic, true);
        usual.setNamesrvAddr(namesrv);
        usual.setInstanceName("u" + topic);
        usual.start();
        id = usual.send(new Message(topic, Lines.utf8("traced as usual"))).getMsgId();
        awaitRecords(plain, "RMQ_SYS_TRACE_TOPIC", id, "Pub");
        usual.shutdown();
        plain.shutdown();
    }

    /** Waits until a topic has trace records of these kinds about a message. */
    private static void awaitRecords(DefaultMQProducer asker, String traces, String id, String... kinds) throws Exception {
        Set<String> got = new HashSet<>();
        for (int i = 0; i < 150 && got.size() < kinds.length; i++) {
            try {
                for (MessageExt m : asker.queryMessage(traces, id, 32, 0, System.currentTimeMillis() + 3600_000).getMessageList()) {
                    for (String line : new String(m.getBody()).split("\u0002")) {
                        if (line.contains(id)) {
                            got.add(line.substring(0, line.indexOf('\u0001')));
                        }
                    }
                }
            } catch (MQClientException e) {
                Scenarios.check(e.getResponseCode() == ResponseCode.NO_MESSAGE || e.getResponseCode() == ResponseCode.TOPIC_NOT_EXIST, "" + e);
            }
            Thread.sleep(200);
        }
        Scenarios.check(got.containsAll(Arrays.asList(kinds)), "records " + got);
    }
}
