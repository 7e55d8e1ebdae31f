package example.m2m.conformance;

import example.m2m.conformance.v1.ConformanceRequest;
import example.m2m.conformance.v1.ConformanceResponse;
import java.io.BufferedOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.logging.Level;
import java.util.logging.Logger;

/** The program: it answers the runner's requests until its input ends. */
public final class Executor {
  private static final int LENGTH_BYTES = 4;

  private Executor() {}

  /** Serves on standard input and output. */
  public static void main(String[] arguments) throws IOException {
    Logger.getLogger("").setLevel(Level.SEVERE);
    serve(System.in, new BufferedOutputStream(System.out));
  }

  /** Answers requests until {@code input} ends. Each message is preceded by its length. */
  static void serve(InputStream input, OutputStream output) throws IOException {
    while (true) {
      byte[] head = input.readNBytes(LENGTH_BYTES);
      if (head.length == 0) {
        return;
      }
      if (head.length < LENGTH_BYTES) {
        throw new EOFException("the input ends within a message");
      }
      int length = ByteBuffer.wrap(head).order(ByteOrder.LITTLE_ENDIAN).getInt();
      byte[] answer = run(ConformanceRequest.parseFrom(input.readNBytes(length))).toByteArray();
      output.write(
          ByteBuffer.allocate(LENGTH_BYTES).order(ByteOrder.LITTLE_ENDIAN).putInt(answer.length).array());
      output.write(answer);
      output.flush();
    }
  }

  /** Runs one case. */
  static ConformanceResponse run(ConformanceRequest request) {
    var response = ConformanceResponse.newBuilder();
    try {
      switch (request.getCaseCase()) {
        case SERVER -> response.setServer(ServerCases.run(request.getServer()));
        case CLIENT -> response.setClient(new ClientCases(request.getClient()).run());
        case CASE_NOT_SET -> response.setUnsupported("the request has no case that is known here");
      }
    } catch (Exception failed) {
      response.setError(failed.toString());
    }
    return response.build();
  }
}
