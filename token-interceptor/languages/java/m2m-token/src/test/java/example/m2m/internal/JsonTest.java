package example.m2m.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonTest {
  private static Map<String, Object> object(String json) throws JsonException {
    return Json.object(json.getBytes(StandardCharsets.UTF_8));
  }

  @Test
  void readsEveryKindOfValue() throws JsonException {
    var members = object(" {\"a\":[1,-2.5e1,true,null],\"b\":{\"c\":\"\\u00e4\\n\"},\"d\":18446744073709551615} ");
    assertEquals(List.of(1L, -25.0, true, Json.NULL), members.get("a"));
    assertEquals(Map.of("c", "ä\n"), members.get("b"));
    assertEquals("18446744073709551615", members.get("d").toString());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "", "[]", "1", "{\"a\":1}x", "{\"a\":1,\"a\":2}", "{\"a\":1,\"\\u0061\":2}", "{\"a\":{\"b\":1,\"b\":1}}",
        "{\"a\":1,}", "{a:1}", "{'a':1}", "{\"a\":01}", "{\"a\":.5}", "{\"a\":1.}", "{\"a\":+1}", "{\"a\":NaN}",
        "{\"a\":1e999}", "{\"a\":\"\t\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\ud800\"}", "{\"a\":1}/**/", "\ufeff{}",
        "{\"a\":[[[[[[[[1]]]]]]]]}"
      })
  void rejects(String json) {
    assertThrows(JsonException.class, () -> object(json), json);
  }

  @Test
  void acceptsEightLevels() throws JsonException {
    object("{\"a\":[[[[[[[1]]]]]]]}");
  }

  @Test
  void rejectsTextThatIsNotUtf8() {
    assertThrows(JsonException.class, () -> Json.object(new byte[] {'{', '"', (byte) 0xff, '"', ':', '1', '}'}));
  }

  @Test
  void visitsMembersWhoseNeighboursAreDeepAndRepeated() throws JsonException {
    String deep = "[".repeat(5_000) + "1e999" + "]".repeat(5_000);
    var seen = new HashMap<String, String>();
    Json.members(
        ("{\"x\":" + deep + ",\"x\":{\"y\":1,\"y\":[]},\"a\": \"b\" }").getBytes(StandardCharsets.UTF_8), seen::put);
    assertEquals("\"b\"", seen.get("a"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"{\"a\":[1,]}", "{\"a\":[,1]}", "{\"a\":{\"b\"}}", "{\"a\":tru}", "{\"a\":-}", "{\"a\" 1}"})
  void visitsNoMembersOfWhatIsNoJson(String json) {
    byte[] bytes = json.getBytes(StandardCharsets.UTF_8);
    assertThrows(JsonException.class, () -> Json.members(bytes, (name, value) -> {}), json);
  }
}
